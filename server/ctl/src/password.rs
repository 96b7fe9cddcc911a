//! Lines for the server's password file.
//!
//! The password comes from the standard input and not from an argument, which every user of the machine could see. The line alone goes to
//! the standard output, so that it can be appended to the file.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// The longest password line that is read.
const LEN_MAX: u64 = 4096;

/// Reads a password and gives the line `name:hash` for the file that `auth.htpasswd` names.
pub(crate) fn line(name: &str) -> Result<String> {
    let input = std::io::stdin();
    let _silence = Silence::begin(name)?;
    made(name, &read(input.lock())?)
}

fn read(input: impl BufRead) -> Result<String> {
    let mut password = String::new();
    let read = input.take(LEN_MAX).read_line(&mut password)?;
    if read as u64 == LEN_MAX {
        bail!("the password is too long");
    }
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

fn made(name: &str, password: &str) -> Result<String> {
    let line = shoal_auth::password_line(name, password).map_err(anyhow::Error::msg)?;
    Ok(format!("{line}\n"))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Option<Termios>);

impl Silence {
    /// Asks for the password when there is somebody to ask.
    fn begin(name: &str) -> Result<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(Self(None));
        }
        write!(std::io::stderr(), "Password for {name}: ")?;
        std::io::stderr().flush()?;
        let shown = tcgetattr(&input)?;
        let mut hidden = shown.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSANOW, &hidden)?;
        Ok(Self(Some(shown)))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(shown) = &self.0 {
            // Nothing can be done about a terminal that is gone.
            _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, shown);
            _ = writeln!(std::io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_made_of_what_is_typed() {
        assert_eq!(read(&b"hunter2\r\nmore"[..]).unwrap(), "hunter2");
        assert_eq!(read(&b"with blank "[..]).unwrap(), "with blank ");
        assert!(read(&[b'x'; 5000][..]).is_err());
        let line = made("alice", "hunter2").unwrap();
        assert!(line.starts_with("alice:$2y$12$") && line.ends_with('\n') && line.len() == 67, "{line:?}");
        assert!(made("alice", "").is_err() && made("a:b", "x").is_err());
    }
}
