//! Clients of others: found on the machine, run with a time limit, their words kept for error messages.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Program;

/// Where Debian installs programs that may be missing from a user's PATH, and the PATH itself after that. Debian's own come
/// first, because the versions under test are Debian's.
const DEBIAN: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];

/// How long one call of a client may take. A hang must fail a test, not the CI job.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(180);

/// The full path of a program, or an error that names the Debian package.
pub fn find(name: &str, package: &str) -> Result<PathBuf> {
    locate(name).with_context(|| {
        format!("{name} is not installed: apt-get install {package}, or run cargo xtask test as root")
    })
}

/// The full path of a program if it is installed.
pub fn locate(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = DEBIAN.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    places.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Runs a program to its end, whatever its status; killed after [`CALL_TIMEOUT`].
pub fn output(program: Program) -> Result<Output> {
    let seconds = CALL_TIMEOUT.as_secs().to_string();
    let program = program.behind(&["timeout".to_owned(), "--kill-after=5".to_owned(), seconds]);
    let mut command = program.command();
    command.output().with_context(|| format!("cannot run {command:?}"))
}

/// Runs a program that must succeed, and returns what it wrote to standard output.
pub fn run(program: Program) -> Result<String> {
    let shown = format!("{:?}", program.command());
    let output = output(program)?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{shown} failed with {}\n{stdout}\n{stderr}", output.status);
    Ok(stdout.into_owned())
}

/// A program of the machine with arguments.
pub fn call(
    name: &str,
    package: &str,
    words: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Program> {
    Ok(Program::new(find(name, package)?).args(words))
}
