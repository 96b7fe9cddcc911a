"""libtorrent as the bench wants it: `ready`, the shot, `done`. Words: role, address, port, torrent, output.

Tuned for a fleet that trusts itself: TCP only, everybody unchoked, deep queues, fast dialling, no discovery but the tracker."""
import sys
import time

import libtorrent

role, address, port, torrent, output = sys.argv[1:6]
session = libtorrent.session({
    "listen_interfaces": f"{address}:{port}",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
    "connection_speed": 500, "torrent_connect_boost": 200, "connections_limit": 500,
    "unchoke_interval": 1, "unchoke_slots_limit": 4, "optimistic_unchoke_interval": 2,
    "max_out_request_queue": 1000, "max_allowed_in_request_queue": 2000, "request_queue_time": 3,
    "send_buffer_watermark": 1024 * 1024, "send_buffer_low_watermark": 64 * 1024,
    "min_announce_interval": 2, "min_reconnect_time": 1,
    "alert_mask": libtorrent.alert.category_t.status_notification,
})
parameters = libtorrent.add_torrent_params()
parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = output
if role == "seed":
    parameters.flags |= libtorrent.torrent_flags.seed_mode
parameters.flags &= ~libtorrent.torrent_flags.auto_managed
parameters.flags &= ~libtorrent.torrent_flags.paused
print("ready", flush=True)
if not sys.stdin.readline():
    sys.exit(1)
handle = session.add_torrent(parameters)
while role != "seed":
    session.wait_for_alert(1000)
    if any(isinstance(alert, libtorrent.torrent_finished_alert) for alert in session.pop_alerts()):
        handle.flush_cache()
        print("done", flush=True)
        break
while True:
    time.sleep(3600)
