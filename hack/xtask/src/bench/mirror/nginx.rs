//! nginx as it gives files: one worker, sendfile, nothing else.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use shoal_e2e::wait::wait_until;
use shoal_e2e::{Process, Program, tool};

use super::stock::Blob;

/// How long it may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running nginx. Stopped on drop.
pub(super) struct Nginx {
    pub(super) address: SocketAddr,
    _process: Process,
}

impl Nginx {
    /// Where the blob is.
    pub(super) const PATH: &'static str = "/blob";

    /// Starts one that gives the blob's bytes; `None` when it is not installed.
    pub(super) fn start(directory: &Path, blob: &Blob) -> Result<Option<Self>> {
        let Some(program) = tool::locate("nginx") else { return Ok(None) };
        std::fs::create_dir_all(directory)?;
        blob.write(&directory.join("blob"))?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let at = directory.display();
        let configuration = format!(
            "daemon off; user root; worker_processes 1; pid {at}/pid; error_log {at}/errors;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;\n\
             client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;\n\
             uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
             server {{ listen {address}; root {at}; }} }}\n"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let program = Program::new(program).arg("-c").arg(&file).arg("-p").arg(directory);
        let process = program.start("nginx", &directory.join("log"))?;
        let listens = wait_until(START_TIMEOUT, || std::net::TcpStream::connect(address).ok());
        ensure!(listens.is_some(), "nginx does not listen\n{}", process.log_tail());
        Ok(Some(Self { address, _process: process }))
    }
}
