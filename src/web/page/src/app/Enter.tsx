// The door: what who is not let in sees.

import { refusal } from "../nostr/api";
import { words } from "../words/app";
import { Treehouse } from "./art";
import { door } from "./state";
import { Busy, Command } from "./ui";

export function Enter() {
  const state = door.value;
  // Who is refused is told what to type here; the demo says another command.
  const demo = state === "used" && refusal().includes(words.enter.demo);
  return (
    <main class="enter" id="main">
      <Treehouse />
      {state === "opening" ? (
        <Busy text={words.enter.trying} />
      ) : state === "unreachable" ? (
        <>
          <h1>{words.unreachable}</h1>
          <p>{words.lost.how}</p>
          <Command text={words.lost.command} />
        </>
      ) : demo ? (
        <>
          <h1>{words.enter.demoTitle}</h1>
          <p>{words.enter.demoUsed}</p>
          <Command text={words.enter.demo} />
          <p>{words.enter.demoThen}</p>
        </>
      ) : (
        <>
          <h1>{state === "again" ? words.enter.again : words.enter.title}</h1>
          {state === "used" && (
            <p class="note warn" role="alert">
              {words.enter.used}
            </p>
          )}
          <p>{state === "again" ? words.enter.againLead : words.enter.lead}</p>
          <Command text={words.enter.command} />
          <p>{words.enter.then}</p>
          <p class="muted">{words.enter.why}</p>
        </>
      )}
    </main>
  );
}
