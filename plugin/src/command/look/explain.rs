//! `explain`: a reset, or a reason.

use jiff::{Timestamp, tz::TimeZone};
use offset_reset_operator::api::Reason;

use crate::{
    cli::{Connection, ExplainArgs},
    cluster::Cluster,
    command::pods::pods,
    exit::{Exit, Outcome},
    print::outln,
    view::{Look, explained, reason},
};

/// Explains a reason without a cluster. Reasons begin with a capital letter, which names of objects cannot have; a name in lowercase is
/// taken for a reason when no object has it.
pub async fn explain(connection: &Connection, args: &ExplainArgs) -> Outcome {
    let named = Reason::ALL.iter().find(|reason| reason.as_str().eq_ignore_ascii_case(&args.name));
    let is_upper = args.name.chars().any(char::is_uppercase);
    if let Some(found) = named.filter(|_| is_upper) {
        reason(*found).iter().for_each(outln);
        return Ok(Exit::Done);
    }
    if is_upper {
        let near: Vec<&str> =
            Reason::ALL.iter().map(|reason| reason.as_str()).filter(|reason| is_near(reason, &args.name)).collect();
        let failure = crate::exit::Failure::new(format!("{} is not a reason of this version.", args.name));
        return Err(match near.as_slice() {
            [] => failure.advice("All reasons are in docs/reasons.md."),
            near => failure.advice(format!("Did you mean {}?", near.join(" or "))),
        });
    }
    let found = async {
        let cluster = Cluster::connect(connection).await?;
        cluster.reset(&args.name).await.map(|reset| (cluster, reset))
    };
    let (cluster, reset) = match (found.await, named) {
        (Err(_), Some(named)) => {
            reason(*named).iter().for_each(outln);
            return Ok(Exit::Done);
        }
        (found, _) => found?,
    };
    let zone = TimeZone::system();
    let (pods, unread) = pods(&cluster, &reset).await;
    let look = Look { reset: &reset, pods: &pods, now: Timestamp::now(), zone: &zone };
    explained(&look, &unread).iter().for_each(outln);
    Ok(Exit::Done)
}

fn is_near(reason: &str, word: &str) -> bool {
    let (reason, word) = (reason.to_lowercase(), word.to_lowercase());
    word.len() > 3 && (reason.contains(&word) || word.contains(&reason) || reason.chars().take(6).eq(word.chars().take(6)))
}
