//! Follows a reset until it ends.

mod live;
mod operator;
mod pods;
mod transitions;

use std::{io::IsTerminal, time::Duration};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use offset_reset_operator::{api::OffsetReset, kubernetes::chain};

use crate::{
    cli::{Lines, WatchArgs},
    cluster::Cluster,
    exit::{self, Exit, Outcome},
    interrupt::{Left, leaves},
    print::{errln, outln},
    view::{BAD, Line, WARN, ended, hint},
};
use live::Live;
pub use operator::Operator;
pub use transitions::{Obstacles, Transitions, end as json_end};

/// How to watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long at most.
    pub timeout: Option<Duration>,
    /// How to print transitions.
    pub lines: Option<Lines>,
    /// Never the live screen.
    pub plain: bool,
    /// Prints only the obstacles to the plan: another command prints the end.
    pub quiet: bool,
}

/// What watching came to.
pub enum End {
    /// The reset has ended.
    Ended(Box<OffsetReset>, Exit),
    /// It was deleted; its last state.
    Gone(Box<OffsetReset>),
    /// The timeout has expired; why no operator works on the reset, when that is known.
    Timeout(Option<Line>),
}

/// Starts to look for an operator, beside a watch of many resets.
pub fn operator(cluster: &Cluster) -> Operator {
    operator::follow(cluster, None)
}

/// `watch`.
pub async fn run(cluster: &Cluster, name: &str, args: &WatchArgs) -> Outcome {
    let options = Options { timeout: args.timeout, lines: args.output, plain: args.plain, quiet: false };
    follow(cluster, name, options).await
}

/// Watches to the end, and prints that.
pub async fn follow(cluster: &Cluster, name: &str, options: Options) -> Outcome {
    leaves(Left::Runs(name.to_owned()));
    let end = until_end(cluster, name, options).await?;
    let json = options.lines == Some(Lines::Json);
    Ok(match end {
        End::Ended(reset, exit) => {
            if json {
                outln(&transitions::end(&reset, exit));
            } else {
                ended(&reset).iter().for_each(outln);
            }
            exit
        }
        End::Gone(reset) => {
            let line = Line::styled(WARN, "✗ Deleted").and(format!(": OffsetReset {name} does not exist any more"));
            if json {
                outln(&transitions::end(&reset, Exit::Cancelled));
            } else {
                outln(&line);
            }
            Exit::Cancelled
        }
        End::Timeout(trouble) => {
            match trouble {
                Some(trouble) => {
                    errln(&Line::styled(WARN, "The timeout is over").and("; the reset goes on once the operator runs."));
                    errln(&trouble);
                }
                None => errln(&Line::styled(WARN, "The timeout is over").and("; the reset goes on.")),
            }
            errln(&hint("Watch:", &format!("watch {name}")));
            errln(&hint("Cancel:", &format!("cancel {name}")));
            Exit::Timeout
        }
    })
}

/// Watches until a reset has ended.
pub async fn until_end(cluster: &Cluster, name: &str, options: Options) -> Outcome<End> {
    let first = cluster.reset(name).await?;
    let is_live = !options.quiet && !options.plain && options.lines.is_none() && std::io::stdout().is_terminal();
    let changes = watcher::watch_object(cluster.resets(), name).default_backoff();
    let limit = async {
        match options.timeout {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let mut operator = operator::follow(cluster, (!options.quiet).then(|| name.to_owned()));
    let watched = async {
        if is_live {
            Box::pin(live(cluster, first, changes, &operator)).await
        } else {
            Box::pin(printed(first, changes, options, &mut operator)).await
        }
    };
    let end = tokio::select! {
        () = limit => None,
        end = watched => Some(end),
    };
    Ok(match end {
        Some(end) => end,
        // A short timeout may expire before the plugin has looked for the operator.
        None => End::Timeout(match operator.trouble() {
            Some(trouble) => Some(trouble),
            None => operator::look(cluster).await,
        }),
    })
}

type Change = Result<Option<OffsetReset>, watcher::Error>;

/// What a change means: the next state, or the end.
fn judged(last: &OffsetReset, change: Option<OffsetReset>) -> Result<OffsetReset, End> {
    match change {
        // Another one of the same name is another reset.
        Some(next) if next.uid() == last.uid() => match exit::of_reset(&next) {
            Some(exit) => Err(End::Ended(Box::new(next), exit)),
            None => Ok(next),
        },
        Some(_) | None => Err(End::Gone(Box::new(last.clone()))),
    }
}

async fn printed(
    first: OffsetReset,
    changes: impl Stream<Item = Change>,
    options: Options,
    operator: &mut operator::Operator,
) -> End {
    let mut changes = std::pin::pin!(changes);
    let (mut transitions, mut errors) = (Transitions::default(), Obstacles::default());
    let mut print = |reset: &OffsetReset| {
        if options.quiet {
            errors.next(reset).iter().for_each(errln);
        } else {
            transitions.next(reset, options.lines, Timestamp::now()).into_iter().for_each(|line| outln(&Line::plain(line)));
        }
    };
    print(&first);
    let mut last = match judged(&first, Some(first.clone())) {
        Ok(reset) => reset,
        Err(end) => return end,
    };
    let mut trouble = String::new();
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            news = operator.news() => {
                news.iter().for_each(errln);
                continue;
            }
        };
        let Some(change) = change else { return End::Gone(Box::new(last)) };
        match change {
            Ok(change) => {
                operator.works();
                if let Some(reset) = change.as_ref().filter(|reset| reset.uid() == last.uid()) {
                    print(reset);
                }
                match judged(&last, change) {
                    Ok(reset) => last = reset,
                    Err(end) => return end,
                }
            }
            Err(error) => {
                let why = chain(&error);
                if why != trouble {
                    errln(&Line::styled(WARN, "cannot watch; trying again: ").and(&why));
                    trouble = why;
                }
            }
        }
    }
}

async fn live(cluster: &Cluster, first: OffsetReset, changes: impl Stream<Item = Change>, operator: &operator::Operator) -> End {
    let mut last = match judged(&first, Some(first.clone())) {
        Ok(reset) => reset,
        Err(end) => return end,
    };
    let mut changes = std::pin::pin!(changes);
    let mut screen = Live::open();
    let pods = pods::follow(cluster, &last);
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let mut trouble = None;
    loop {
        pods.look_at(&last);
        let no_operator = operator.trouble();
        screen.draw(&last, &pods.found(), trouble.as_ref().or(no_operator.as_ref()));
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(change)) => {
                    trouble = None;
                    operator.works();
                    match judged(&last, change) {
                        Ok(reset) => last = reset,
                        Err(end) => return end,
                    }
                }
                Some(Err(error)) => trouble = Some(Line::styled(BAD, "cannot watch; trying again: ").and(chain(&error))),
                None => return End::Gone(Box::new(last)),
            },
            _ = tick.tick() => {}
        }
    }
}
