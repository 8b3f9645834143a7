// The door: what who is not let in sees.

import { words } from "../words/app";
import { Treehouse } from "./art";
import { door } from "./state";
import { Busy, Command } from "./ui";

export function Enter() {
  const state = door.value;
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
