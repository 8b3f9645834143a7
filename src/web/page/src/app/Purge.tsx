// Deletes conversations for good: what was said and done, and the agents' copies.

import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import type { PurgeAnswer } from "../nostr/workspace";
import { words } from "../words/app";
import { type Conversation, isOpen } from "./conversations";
import { go, hrefs, route } from "./route";
import { titleOf } from "./Sessions";
import * as tasks from "./tasks";
import { Busy, Button, Dialog, Problem, Said, sentence } from "./ui";

/** What is to be deleted; the window stands above every view, since theirs goes with it. */
export const purging = signal<Conversation[]>([]);

export function PurgeDialog() {
  const conversations = purging.value;
  const look = useSignal<PurgeAnswer | undefined>(undefined);
  const done = useSignal<PurgeAnswer | undefined>(undefined);
  const busy = useSignal(false);
  const problem = useSignal("");
  const jobs = conversations.flatMap((conversation) => conversation.jobs.map((job) => job.id));
  const atWork = conversations.some((conversation) => isOpen(conversation.state));
  useEffect(() => {
    if (!atWork) {
      tasks.purge(jobs, true).then(
        (answer) => (look.value = answer),
        (error: unknown) => (problem.value = sentence(error)),
      );
    }
  }, []);
  const close = (): void => {
    if (!busy.value) purging.value = [];
  };
  const act = async (): Promise<void> => {
    busy.value = true;
    problem.value = "";
    try {
      done.value = await tasks.purge(jobs, false);
      const at = route.value;
      if ((at.view === "session" && jobs.includes(at.id)) || at.view === "compare") go(hrefs.sessions);
    } catch (error) {
      problem.value = sentence(error);
    }
    busy.value = false;
  };
  const answer = done.value ?? look.value;
  return (
    <Dialog
      title={words.purge.title(conversations.length)}
      onClose={close}
      foot={
        done.value !== undefined ? (
          <Button kind="primary" onClick={close}>
            {words.close}
          </Button>
        ) : (
          <>
            <Button disabled={busy.value} onClick={close}>
              {words.cancel}
            </Button>
            <Button kind="danger" icon="trash" busy={busy.value} disabled={look.value === undefined} onClick={() => void act()}>
              {busy.value ? words.purge.doing : words.purge.do}
            </Button>
          </>
        )
      }
    >
      {problem.value !== "" && <Problem text={problem.value} />}
      {done.value !== undefined ? (
        <div role="status">
          <p>{words.purge.done(done.value)}</p>
          {!done.value.erased && <p>{words.purge.later}</p>}
        </div>
      ) : (
        <>
          <ul>
            {conversations.map((conversation) => (
              <li key={conversation.id}>{titleOf(conversation)}</li>
            ))}
          </ul>
          {atWork ? <p>{words.purge.atWork}</p> : <p>{words.purge.lead}</p>}
          {!atWork && look.value === undefined && problem.value === "" && <Busy text={words.purge.looking} />}
          {answer !== undefined && <p class="muted">{words.purge.what(answer)}</p>}
          {(answer?.shared ?? 0) > 0 && (
            <p>
              <Said text={words.purge.shared(answer?.shared ?? 0)} />
            </p>
          )}
        </>
      )}
      {(done.value !== undefined || !atWork) && <p class="muted">{words.purge.stays(answer?.applied ?? 0)}</p>}
    </Dialog>
  );
}
