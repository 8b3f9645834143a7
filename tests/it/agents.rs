//! An agent of somebody else's: a manifest, a Dockerfile and a script in the home, no code of ours.

use serde_json::json;

use crate::{
    harness::{Treefort, agent, client::tag},
    jobs::{AT_ONCE, statuses},
    model_server::ModelServer,
};

/// Speaks ACP with a shell's means, and asks the model more often than the record of its calls holds.
const SCRIPT: &str = r#"
chat='{"model":"x","stream":false,"messages":[{"role":"user","content":"instant"}]}'
while read -r line; do
    id=$(echo "$line" | /busybox sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case "$line" in
    *'"initialize"'*) result='{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}' ;;
    *'"session/new"'*) result='{"sessionId":"s"}' ;;
    *'"session/prompt"'*)
        n=0
        while [ $n -lt 80 ]; do
            /busybox wget -q -O /dev/null --header "Authorization: Bearer $TREEFORT_TOKEN" \
                --header 'Content-Type: application/json' --post-data "$chat" \
                http://127.0.0.1:11434/api/chat || break
            n=$((n + 1))
        done
        echo '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"asked '$n' times"}}}}'
        result='{"stopReason":"end_turn"}' ;;
    *) continue ;;
    esac
    echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_the_home_asks_its_model_as_often_as_it_likes() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    treefort.terminate();
    agent::install(treefort.home(), "many", SCRIPT, &[]);
    treefort.up();

    let mut client = treefort.client(&treefort.operator()).await;
    let draft = client
        .job(treefort.coordinator(), "go")
        .tag(["param", "agent", "many"]);
    let (job, answers) = client.do_job(&draft).await;
    assert_eq!(statuses(&answers).last().unwrap(), "success", "{answers:?}");
    let result = &answers[answers.len() - 2];
    assert_eq!(result.content, "asked 80 times");
    assert_eq!(model.chats().len(), 80);
    // Every call is in the account.
    treefort.wait_for_no_containers().await;
    let filter = json!({"kinds": [4785], "#E": [job.id.to_hex()]});
    let end = client.query(filter).await;
    let tokens: u64 = tag(&end[0], "tokens").unwrap().parse().unwrap();
    assert!(tokens >= 80, "{tokens}");
}
