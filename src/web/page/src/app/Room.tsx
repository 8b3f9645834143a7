// What takes room on the disk, and what can go.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import type { ListAnswer } from "../nostr/workspace";
import { line, pathParts } from "../story/text";
import { words } from "../words/app";
import { bytes } from "../words/story";
import { Icon } from "./icons";
import { now } from "./state";
import * as tasks from "./tasks";
import { Busy, Button, Dialog, Problem, sentence } from "./ui";

export function Room() {
  const found = useSignal<ListAnswer | undefined>(undefined);
  const problem = useSignal("");
  const chosen = useSignal<string[]>([]);
  const sure = useSignal(false);
  const busy = useSignal(false);
  const done = useSignal("");
  const look = (): void => {
    tasks.list().then(
      (answer) => (found.value = answer),
      (error: unknown) => (problem.value = sentence(error)),
    );
  };
  useEffect(look, []);
  const remove = (): void => {
    busy.value = true;
    problem.value = "";
    tasks
      .clean(chosen.value, false)
      .then(
        (answer) => {
          done.value = [words.room.done(answer.bytes), ...(answer.left ?? []).map((why) => `${words.room.left} ${line(why, 200)}`)].join(" ");
          chosen.value = [];
          look();
        },
        (error: unknown) => (problem.value = sentence(error)),
      )
      .finally(() => {
        busy.value = false;
        sure.value = false;
      });
  };
  const copies = found.value?.copies ?? [];
  return (
    <section class="card">
      <h2>
        <Icon name="folder" /> {words.room.title}
      </h2>
      <p class="muted">{words.room.lead}</p>
      {problem.value !== "" && <Problem text={problem.value} />}
      {done.value !== "" && <p role="status">{done.value}</p>}
      {found.value === undefined && problem.value === "" && <Busy text={words.loading} />}
      {found.value !== undefined && copies.length === 0 && <p>{words.room.none}</p>}
      {copies.length > 0 && (
        <ul class="things">
          {copies.map((copy) => (
            <li key={copy.workspace}>
              <input
                type="checkbox"
                aria-label={words.room.select(line(copy.title, 80))}
                disabled={copy.busy}
                checked={chosen.value.includes(copy.workspace)}
                onChange={() => {
                  const now = chosen.value;
                  chosen.value = now.includes(copy.workspace) ? now.filter((other) => other !== copy.workspace) : [...now, copy.workspace];
                }}
              />
              <div>
                <strong>{line(copy.title, 100) || words.session.private}</strong>
                <p class="muted">
                  {copy.project ? pathParts(copy.project)[1] : words.room.began} · {words.ago(now.value - copy.at)} ·{" "}
                  {copy.busy ? words.room.busy : copy.work ? words.room.work : words.room.noWork}
                </p>
              </div>
              <span class="size">{bytes(copy.bytes)}</span>
            </li>
          ))}
        </ul>
      )}
      {found.value !== undefined && (
        <p class="row">
          {copies.length > 0 && (
            <Button kind="danger" icon="trash" disabled={chosen.value.length === 0} onClick={() => (sure.value = true)}>
              {words.room.do(chosen.value.length)}
            </Button>
          )}
          <span class="muted">{words.room.checkpoints(found.value.checkpoints)}</span>
        </p>
      )}
      {sure.value && (
        <Dialog
          title={words.room.do(chosen.value.length)}
          onClose={() => (sure.value = false)}
          foot={
            <>
              <Button onClick={() => (sure.value = false)}>{words.cancel}</Button>
              <Button kind="danger" icon="trash" busy={busy.value} onClick={remove}>
                {busy.value ? words.room.doing : words.room.do(chosen.value.length)}
              </Button>
            </>
          }
        >
          <p>{words.room.sure}</p>
        </Dialog>
      )}
    </section>
  );
}
