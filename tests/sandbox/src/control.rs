//! What can be done to a part while the sandbox runs. Only the supervisor knows which process is which part, and only it may collect
//! them, so it is told over a socket in the state directory, which is reached from in- and outside of the sandbox's network.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// How long whoever has connected may take to say what they want: nothing else is done meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is answered to an order that was carried out.
const DONE: &str = "done";

/// What can be done to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ends it with SIGKILL.
    Kill,
    /// Starts one that has ended, and waits until it serves.
    Start,
    /// Stops it with SIGSTOP: its connections stay, and nobody answers.
    Freeze,
    /// Lets a frozen one go on.
    Thaw,
}

impl Order {
    const ALL: [Self; 4] = [Self::Kill, Self::Start, Self::Freeze, Self::Thaw];

    fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Start => "start",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Gives an order, and waits until it was carried out.
pub(crate) fn give(dir: &Path, order: Order, part: &str) -> Result<()> {
    let path = socket(dir);
    let mut stream = UnixStream::connect(&path)
        .with_context(|| format!("nobody listens at {}: the sandbox is not up, or is older than this command", path.display()))?;
    writeln!(stream, "{} {part}", order.as_str())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the supervisor does not answer")?;
    match answer.trim() {
        DONE => Ok(()),
        why => bail!("{} {part}: {why}", order.as_str()),
    }
}

/// The supervisor's ear; asked now and then, it never waits.
pub(crate) struct Ear(UnixListener);

impl Ear {
    pub fn open(dir: &Path) -> Result<Self> {
        let path = socket(dir);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Hears one order, if there is one, and answers what carrying it out has come to.
    pub fn hear(&self, carry_out: impl FnOnce(Order, &str) -> Result<()>) {
        let Ok((mut stream, _)) = self.0.accept() else { return };
        let answer = match read(&stream).and_then(|(order, part)| carry_out(order, &part)) {
            Ok(()) => DONE.to_owned(),
            Err(error) => format!("{error:#}"),
        };
        // Whoever has asked may have gone; what was done is done.
        let _ = writeln!(stream, "{answer}");
    }
}

fn read(stream: &UnixStream) -> Result<(Order, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let understood = line.trim().split_once(' ').and_then(|(word, part)| {
        let order = Order::ALL.into_iter().find(|order| order.as_str() == word)?;
        Some((order, part.to_owned()))
    });
    understood.with_context(|| format!("not understood: '{}'", line.trim()))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_order_is_heard_as_it_was_given_and_what_went_wrong_is_heard_back() {
        let dir = std::env::temp_dir().join(format!("sandbox-control-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let ear = Ear::open(&dir).unwrap();
        let at = dir.clone();
        let giver = thread::spawn(move || Order::ALL.map(|order| give(&at, order, "kafka").map_err(|error| error.to_string())));
        let mut heard = vec![];
        while heard.len() < Order::ALL.len() {
            ear.hear(|order, part| {
                heard.push((order, part.to_owned()));
                if order == Order::Freeze { Err(anyhow::anyhow!("it is not up")) } else { Ok(()) }
            });
        }
        assert_eq!(heard, Order::ALL.map(|order| (order, "kafka".to_owned())));
        assert_eq!(giver.join().unwrap(), [Ok(()), Ok(()), Err("freeze kafka: it is not up".to_owned()), Ok(())]);
        fs::remove_dir_all(&dir).unwrap();
        assert!(give(&dir, Order::Kill, "kafka").unwrap_err().to_string().contains("nobody listens"));
    }
}
