//! `export`: the files of a reset's report.

use std::io::Read;

use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use crate::{
    cli::ExportArgs,
    cluster::Cluster,
    exit::{Exit, Failure, Outcome},
    print::raw,
};

/// The most bytes of a file after decompression.
const MAX_BYTES: u64 = 64 << 20;

/// Prints a file of the report.
pub async fn export(cluster: &Cluster, args: &ExportArgs) -> Outcome {
    let reset = cluster.reset(&args.name).await?;
    let files = [(args.before, "before.csv"), (args.skipped, "skipped.csv"), (args.replayed, "replayed.csv")];
    let name = files.into_iter().find(|(wanted, _)| *wanted).map_or("after.csv", |(_, name)| name);
    let Some(report) = reset.status.as_ref().and_then(|status| status.report.clone()) else {
        return Err(Failure::new(format!("OffsetReset {} has no report: no plan was made.", args.name))
            .advice(format!("To see why: kubectl offset-reset explain {}", args.name)));
    };
    let config_maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = config_maps.get(&report.config_map).await;
    let found = found.map_err(|error| Failure::request(&format!("read the report, ConfigMap {}", report.config_map), &error))?;
    if (args.skipped || args.replayed) && !has(&found, name) && has(&found, "after.csv") {
        return Err(Failure::new(format!("the report has no {name}: it has too many partitions for that file."))
            .advice("partitions.json in the report has the same numbers."));
    }
    file(&found, name)?.lines().for_each(raw);
    Ok(Exit::Done)
}

fn has(report: &ConfigMap, name: &str) -> bool {
    report.data.as_ref().is_some_and(|data| data.contains_key(name))
        || report.binary_data.as_ref().is_some_and(|data| data.contains_key(&format!("{name}.gz")))
}

/// A file of a report, plain or compressed.
fn file(report: &ConfigMap, name: &str) -> Outcome<String> {
    if let Some(text) = report.data.as_ref().and_then(|data| data.get(name)) {
        return Ok(text.clone());
    }
    let compressed = report.binary_data.as_ref().and_then(|data| data.get(&format!("{name}.gz")));
    let compressed = compressed.ok_or_else(|| Failure::new(format!("the report has no {name}: it was edited.")))?;
    let mut text = String::new();
    let read = GzDecoder::new(compressed.0.as_slice()).take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("the report's {name}.gz cannot be read: {error}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn a_file_is_read_plain_or_compressed() {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(b"orders,0,10\n").unwrap();
        let compressed = ByteString(encoder.finish().unwrap());
        let plain =
            ConfigMap { data: Some([("after.csv".to_owned(), "orders,0,5\n".to_owned())].into()), ..ConfigMap::default() };
        assert_eq!(file(&plain, "after.csv").unwrap(), "orders,0,5\n");
        let packed = ConfigMap { binary_data: Some([("before.csv.gz".to_owned(), compressed)].into()), ..ConfigMap::default() };
        assert_eq!(file(&packed, "before.csv").unwrap(), "orders,0,10\n");
        assert!(file(&packed, "after.csv").unwrap_err().what.contains("has no after.csv"));
    }
}
