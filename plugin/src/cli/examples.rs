//! Examples below the help of each command, indented by four spaces, which docs/cli.md shows as code.

pub(super) const PLAN: &str = "Examples:

    kubectl offset-reset plan --group orders --topic orders --to-datetime 2026-11-24T18:00:00Z \\
      --target orders --bootstrap-server kafka:9092
    kubectl offset-reset plan --like orders-x7c2m --topic orders:0,3-5 --shift-by -100
    kubectl offset-reset plan --group orders --from-file offsets.csv --target orders --strimzi-user orders
    kubectl offset-reset plan -l part-of=shop --batch failover-1 --all-topics --to-datetime 2026-11-24T18:00:00Z \\
      --strimzi-user resets\n";

pub(super) const CREATE: &str = "Examples:

    kubectl offset-reset create --group orders --all-topics --by-duration PT1H30M --target orders --binding kafka
    kubectl offset-reset create --like orders-x7c2m --topic orders --to-latest --max-skip 1000 --yes --timeout 15m
    kubectl offset-reset create --group orders --topic orders --to-earliest --target statefulset/orders \\
      --bootstrap-server kafka:9092 --dry-run=client -o yaml\n";

pub(super) const RUN: &str = "Examples:

    kubectl offset-reset run orders-x7c2m
    kubectl offset-reset run orders-x7c2m --yes --confirm-context staging --timeout 15m
    kubectl offset-reset run --batch failover-1 --max-at-zero 5\n";

pub(super) const WATCH: &str = "Examples:

    kubectl offset-reset watch orders-x7c2m
    kubectl offset-reset watch orders-x7c2m -o json --timeout 15m
    kubectl offset-reset watch --batch failover-1\n";

pub(super) const STATUS: &str = "Examples:

    kubectl offset-reset status orders-x7c2m
    kubectl offset-reset status orders-x7c2m -v\n";

pub(super) const EXPLAIN: &str = "Examples:

    kubectl offset-reset explain orders-x7c2m
    kubectl offset-reset explain GroupNotEmpty\n";

pub(super) const UNDO: &str = "Examples:

    kubectl offset-reset undo orders-x7c2m
    kubectl offset-reset undo orders-x7c2m --name back --yes
    kubectl offset-reset undo --batch failover-1\n";

pub(super) const CANCEL: &str = "Examples:

    kubectl offset-reset export orders-x7c2m --before > orders.csv
    kubectl offset-reset cancel orders-x7c2m
    kubectl offset-reset cancel --batch failover-1\n";

pub(super) const SUSPEND: &str = "Examples:

    kubectl offset-reset suspend orders-x7c2m billing-2hq9d\n";

pub(super) const RESUME: &str = "Examples:

    kubectl offset-reset resume orders-x7c2m\n";

pub(super) const LIST: &str = "Examples:

    kubectl offset-reset list
    kubectl offset-reset list -A --active
    kubectl offset-reset list --batch failover-1\n";

pub(super) const HOLDS: &str = "Examples:

    kubectl offset-reset holds -A
    kubectl offset-reset holds --exit-code || echo held\n";

pub(super) const EXPORT: &str = "Examples:

    kubectl offset-reset export orders-x7c2m --before > orders.csv
    kubectl offset-reset export orders-x7c2m --after | diff orders.csv -\n";

pub(super) const CHECK: &str = "Examples:

    kubectl offset-reset check
    kubectl offset-reset check --before-uninstall\n";

pub(super) const REPORT: &str = "Examples:

    kubectl offset-reset report orders-x7c2m --file bug.zip\n";

pub(super) const PRUNE: &str = "Examples:

    kubectl offset-reset prune --older-than 30d --dry-run
    kubectl offset-reset prune --older-than 30d -A --yes\n";

pub(super) const COMPLETION: &str = "Examples:

    kubectl offset-reset completion > ~/.local/bin/kubectl_complete-offset_reset
    chmod +x ~/.local/bin/kubectl_complete-offset_reset\n";
