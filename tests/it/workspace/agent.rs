//! An agent whose prompt is its script: a shell in a container that speaks the Agent Client Protocol, with
//! words for everything that an agent may say and do.
//!
//! The last line of a prompt is run by its shell (so without quotation marks and backslashes). `$n` counts its
//! prompts. `says WORD…`, `claims KIND PATH`, `begins ID KIND PATH` and `ends ID` (a tool that runs beside others), `asks KIND PATH` (permission; waits for the answer, and so until
//! all that it said before is on the record; `$told` is the option then, `cancelled` for none), `wants KIND PATH` (the same
//! without waiting), `odd` (asks with other options from here on), `floods N` (asks N times, and hears nothing any more), `lingers`
//! (until it is cancelled), `deaf` (for ever, whatever it is told). It begins no session where a file `refuses` is.

use std::path::Path;

const MANIFEST: &str = r#"
name = "scripted"
title = "Scripted"
description = "Does what its prompt says."
version = "1"
argv = ["/bin/sh", "/agent.sh"]
kinds = [5050, 5870]
workspace = true
history = "prompt"
prewarm = true
grace_s = 1
[image]
dockerfile = "Dockerfile"
"#;

const DOCKERFILE: &str = "FROM scratch\nCOPY treefort /treefort\nCOPY busybox /bin/busybox\n\
                          RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY agent.sh /agent.sh\n\
                          USER 1000:1000\nWORKDIR /workspace\n\
                          ENTRYPOINT [\"/treefort\", \"sandbox-init\", \"--\"]\n";

const SCRIPT: &str = r#"
cd /workspace
n=0
calls=0
sends() { echo "{\"jsonrpc\":\"2.0\",$1}"; }
updates() { sends "\"method\":\"session/update\",\"params\":{\"sessionId\":\"s\",\"update\":{$1}}"; }
says() { updates "\"sessionUpdate\":\"agent_message_chunk\",\"content\":{\"type\":\"text\",\"text\":\"$*\"}"; }
tool() { echo "\"toolCallId\":\"c$calls\",\"title\":\"$1 $2\",\"kind\":\"$1\",\"rawInput\":{\"filePath\":\"/workspace/$2\",\"command\":\"$2\"}"; }
claims() {
    calls=$((calls + 1))
    updates "\"sessionUpdate\":\"tool_call\",\"status\":\"completed\",$(tool "$1" "$2")"
}
begins() { updates "\"sessionUpdate\":\"tool_call\",\"toolCallId\":\"$1\",\"title\":\"$2 $3\",\"kind\":\"$2\",\"status\":\"in_progress\",\"rawInput\":{\"filePath\":\"/workspace/$3\"}"; }
ends() { updates "\"sessionUpdate\":\"tool_call_update\",\"toolCallId\":\"$1\",\"status\":\"completed\""; }
hears() {
    read -r line || exit 0
    id=$(echo "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
}
option() { echo "{\"kind\":\"$1\",\"optionId\":\"$2\",\"name\":\"$3\"}"; }
options="$(option allow_once yes Yes),$(option reject_once no No)"
odd() { options="$(option allow_always ever Always),$(option explain why Explain),$(option allow_once yes Yes)"; }
wants() {
    calls=$((calls + 1))
    sends "\"id\":$((1000 + calls)),\"method\":\"session/request_permission\",\"params\":{\"sessionId\":\"s\",\"toolCall\":{$(tool "$1" "$2")},\"options\":[$options]}"
}
floods() {
    exec 3<&0
    cat <&3 >/dev/null &
    line=$(wants edit flood)
    i=0
    while [ $i -lt "$1" ]; do echo "$line"; i=$((i + 1)); done
}
asks() {
    wants "$1" "$2"
    answer=$((1000 + calls))
    hears
    while [ "$id" != "$answer" ]; do hears; done
    told=$(echo "$line" | sed -n 's/.*"optionId":"\([^"]*\)".*/\1/p')
    told=${told:-cancelled}
}
lingers() {
    while hears; do
        case "$line" in *'"session/cancel"'*) stop=cancelled; return ;; esac
    done
}
deaf() { while :; do sleep 1; done; }
kept=$HOME/.kept/history
while hears; do
    case "$line" in
    *'"initialize"'*)
        result='{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}'
        [ -n "$KEEPS" ] && result='{"protocolVersion":1,"agentCapabilities":{"loadSession":true},"agentInfo":{"name":"keeper","version":"'$KEEPS'"}}' ;;
    *'"session/load"'*)
        [ -e dies ] && exit 3
        if [ -e forgets ] || [ ! -e $kept ]; then
            sends "\"id\":$id,\"error\":{\"code\":-32000,\"message\":\"no such session\"}"
            continue
        fi
        loaded=$id
        says an old word
        claims edit old.txt
        id=$loaded
        result='{}' ;;
    *'"session/new"'*)
        if [ -e refuses ]; then
            sends "\"id\":$id,\"error\":{\"code\":-32000,\"message\":\"not today\"}"
            continue
        fi
        result='{"sessionId":"s"}' ;;
    *'"session/prompt"'*)
        prompt=$id
        text=$(echo "$line" | sed -n 's/.*"text":"\([^"]*\)".*/\1/p')
        n=$((n + 1))
        [ -n "$KEEPS" ] && mkdir -p $HOME/.kept && echo "prompt $n" >> $kept
        stop=end_turn
        eval "${text##*\\n}"
        id=$prompt
        result='{"stopReason":"'$stop'"}' ;;
    *) continue ;;
    esac
    sends "\"id\":$id,\"result\":$result"
done
"#;

/// Puts the agent into a home, before treefort starts there. One with another note has an image of its own.
pub(super) fn install(home: &Path, note: &str) {
    let folder = home.join("agents/scripted");
    std::fs::create_dir_all(&folder).unwrap();
    // Without Docker it is this shell alone, which has its programs in itself.
    let embedded = format!(
        "[embedded]\nsystem = false\nfiles = {{ \"agent.sh\" = \"/agent.sh\" }}\n[embedded.reads]\n{:?} = \"/bin/sh\"\n",
        busybox()
    );
    std::fs::write(folder.join("agent.toml"), format!("{MANIFEST}{embedded}")).unwrap();
    std::fs::write(folder.join("Dockerfile"), DOCKERFILE).unwrap();
    let script = format!("{SCRIPT}# {note}\n");
    std::fs::write(folder.join("agent.sh"), script).unwrap();
    std::fs::copy(busybox(), folder.join("busybox")).unwrap();
}

/// Puts the same agent into a home as `keeper`, of this version: it keeps its conversations in `.kept` in its home,
/// the number of each prompt in `history`. It does not go on with one where a file `forgets` is, and ends where a file
/// `dies` is.
pub(super) fn install_keeper(home: &Path, version: &str) {
    install(home, "");
    let (folder, keeper) = (home.join("agents/scripted"), home.join("agents/keeper"));
    std::fs::create_dir_all(&keeper).unwrap();
    for file in ["Dockerfile", "agent.sh", "busybox"] {
        std::fs::copy(folder.join(file), keeper.join(file)).unwrap();
    }
    let manifest = std::fs::read_to_string(folder.join("agent.toml")).unwrap();
    let manifest = manifest.replace("name = \"scripted\"", "name = \"keeper\"");
    let manifest = manifest.replace("version = \"1\"", &format!("version = \"{version}\""));
    let keeps = format!("[env]\nKEEPS = \"{version}\"\n[resume]\nstate = [\".kept\"]\n");
    std::fs::write(keeper.join("agent.toml"), format!("{manifest}{keeps}")).unwrap();
}

/// The machine's own.
fn busybox() -> &'static str {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("install busybox-static")
}
