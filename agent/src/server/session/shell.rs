//! A shell on a pseudo-terminal of its own.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::{Command, Stdio},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize},
};

use crate::{
    protocol::frame::Size,
    server::{
        children::{Child, Children},
        config::Config,
        raw,
    },
};

/// Starts a login shell where [`Config::shells_in`] says, as the leader of a session whose controlling terminal is new. The descriptor is
/// the terminal's other end and does not block.
///
/// # Errors
/// No terminal can be had, or neither the configured shell nor `/bin/sh` starts.
pub fn start(config: &Config, children: &Children, size: Size) -> io::Result<(Child, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    unlockpt(&master)?;
    let terminal = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    // Without IUTF8 the backspace key takes half of a character in canonical mode.
    let mut modes = tcgetattr(&terminal)?;
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&terminal, OptionalActions::Now, &modes)?;
    resize(&master, size)?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;

    let folder = config.shells_in();
    let start = |shell: &std::path::Path| -> io::Result<Child> {
        let mut command = Command::new(shell);
        command.arg("-l").current_dir(&folder);
        config.environment(&mut command);
        command.env("SHELL", shell).env("PWD", &folder);
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(Stdio::from(terminal.try_clone()?));
        raw::own_terminal(&mut command);
        Ok(children.spawn(&mut command, |_| ())?.0)
    };
    let child = start(&config.shell).or_else(|error| {
        eprintln!("{} does not start: {error}; trying /bin/sh", config.shell.display());
        start("/bin/sh".as_ref())
    })?;
    Ok((child, master))
}

/// Tells the terminal, and with it the program in the foreground, its size.
pub fn resize(master: impl AsFd, size: Size) -> io::Result<()> {
    Ok(tcsetwinsize(master, Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}
