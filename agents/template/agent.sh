#!/bin/sh
# Your agent. As it stands, it asks the session's model once and writes its answer: replace what is below with
# your own program. It is given:
#   the last argument         what the person asked, with the conversation before it
#   /workspace                a copy of their project, where it starts and which it may change
#   $MODEL, $TREEFORT_TOKEN   the model's name, and the key for it (agent.toml sets MODEL)
# What it writes is the answer. When it ends with another exit code than 0, it has failed, and what it wrote to
# standard error is shown.
exec node -e '
const ask = async (prompt) => {
  const answer = await fetch("http://127.0.0.1:11434/v1/chat/completions", {
    method: "POST",
    headers: { Authorization: `Bearer ${process.env.TREEFORT_TOKEN}`, "Content-Type": "application/json" },
    body: JSON.stringify({ model: process.env.MODEL, messages: [{ role: "user", content: prompt }] }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the model did not answer: ${text}`);
  console.log(JSON.parse(text).choices[0].message.content);
};
ask(process.argv.at(-1)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
' -- "$@"
