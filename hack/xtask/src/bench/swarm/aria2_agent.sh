# aria2 as the bench wants it: `ready`, the shot, `done`. Words: program, role, address, port, torrent, output, directory.
# Tuned: any number of peers, the tracker asked every two seconds, a cache that holds the blob of the headline case.
aria2c=$0 role=$1 address=$2 port=$3 torrent=$4 output=$5 dir=$6
printf '#!/bin/sh\necho done\n' >"$dir/hook"
chmod +x "$dir/hook"
verified=
[ "$role" = seed ] && verified=--bt-seed-unverified=true
echo ready
read -r shot
exec "$aria2c" --no-conf --dir "$output" --listen-port "$port" --interface "$address" \
    --enable-dht=false --bt-enable-lpd=false --bt-max-peers=0 --bt-tracker-interval=2 --disk-cache=32M \
    --file-allocation=none --allow-overwrite=true --seed-ratio=0.0 --summary-interval=0 --show-console-readout=false \
    --console-log-level=warn --follow-torrent=mem $verified --on-bt-download-complete="$dir/hook" "$torrent"
