//! After all of it, treefort still does jobs.

use super::{Host, attack};
use crate::{
    harness::{Treefort, agent},
    jobs::{AT_ONCE, statuses},
    model_server::ModelServer,
};

/// Answers its first two requests, then does what its prompt says.
const SCRIPT: &str = r#"
while read -r line; do
    id=$(echo "$line" | /busybox sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case "$line" in
    *'"initialize"'*) result='{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}' ;;
    *'"session/new"'*) result='{"sessionId":"s"}' ;;
    *endless-line*) exec /busybox cat /dev/zero ;;
    *garbage*) exec /busybox cat /dev/urandom ;;
    *endless-lines*) exec /busybox yes '{"jsonrpc":"2.0","method":"x"}' ;;
    *fork-bomb*) bomb() { bomb | bomb & }; (bomb) & while :; do :; done ;;
    *delete*) /busybox rm -rf / 2>/dev/null; /attack kill-1 15; exit 1 ;;
    *starve*) /attack limit-1 nofile 3; /attack limit-1 cpu 1; exit 1 ;;
    *) continue ;;
    esac
    echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn treefort_still_serves_after_agents_that_do_their_worst() {
    still_serves("docker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn treefort_still_serves_without_docker_after_agents_that_do_their_worst() {
    still_serves("embedded").await;
}

async fn still_serves(runtime: &str) {
    let model = ModelServer::start().await;
    let host = Host::new();
    let options = format!("{AT_ONCE}[jobs]\ntimeout_s = 8\n[sandbox]\nruntime = \"{runtime}\"\n");
    let mut treefort = Treefort::start_with(&model, &[], &options);
    treefort.terminate();
    let program = attack();
    agent::install(treefort.home(), "evil", SCRIPT, &[("attack", &program)]);
    treefort.up();
    let mut client = treefort.client(&treefort.operator()).await;
    for prompt in [
        "endless-line",
        "garbage",
        "endless-lines",
        "fork-bomb",
        "delete",
        "starve",
    ] {
        let draft = client
            .job(treefort.coordinator(), prompt)
            .tag(["param", "agent", "evil"]);
        let (_, answers) = client.do_job(&draft).await;
        assert_eq!(
            statuses(&answers).last().unwrap(),
            "error",
            "{prompt}: {answers:?}"
        );
    }
    let draft = client.job(treefort.coordinator(), "instant");
    let (_, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success", "{answers:?}");
    treefort.wait_for_no_containers().await;
    treefort.terminate();
    host.assert_unchanged();
}
