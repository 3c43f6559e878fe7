//! Whether an operator works on the reset: a task beside the watch looks for it when nothing has changed for a while.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    cluster::Cluster,
    command::check::trouble,
    interrupt::{Left, leaves},
    view::Line,
};

/// How long nothing changes before the plugin looks for the operator.
const QUIET: Duration = Duration::from_secs(5);

/// How long a last look may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The search for the operator; it ends when this is dropped.
pub struct Operator {
    changed: watch::Sender<()>,
    found: watch::Receiver<Option<Line>>,
    task: JoinHandle<()>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to look for the operator. `runs` is the reset that goes on without this command, if it runs.
pub fn follow(cluster: &Cluster, runs: Option<String>) -> Operator {
    let (changed, mut news) = watch::channel(());
    let (tell, found) = watch::channel(None);
    let cluster = cluster.clone();
    let task = tokio::spawn(async move {
        loop {
            let is_quiet = tokio::time::timeout(QUIET, news.changed()).await.is_err();
            let why = if is_quiet { trouble(&cluster).await } else { None };
            if let Some(name) = &runs {
                leaves(match &why {
                    Some((what, _)) => Left::Waits(name.clone(), format!("{what}.")),
                    None => Left::Runs(name.clone()),
                });
            }
            let line = why.map(line);
            tell.send_if_modified(|before| {
                let is_new = *before != line;
                *before = line;
                is_new
            });
        }
    });
    Operator { changed, found, task }
}

fn line((what, advice): (String, String)) -> Line {
    Line::warning(format!("{what}. {advice}"))
}

/// Looks once, and not for long.
pub async fn look(cluster: &Cluster) -> Option<Line> {
    tokio::time::timeout(PATIENCE, trouble(cluster)).await.ok().flatten().map(line)
}

impl Operator {
    /// The reset has changed: an operator works on it.
    pub fn works(&self) {
        let _ = self.changed.send(());
    }

    /// Why no operator works on the reset, as far as that is known.
    pub fn trouble(&self) -> Option<Line> {
        self.found.borrow().clone()
    }

    /// Waits until that changes, and returns it.
    pub async fn news(&mut self) -> Option<Line> {
        if self.found.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.found.borrow_and_update().clone()
    }
}
