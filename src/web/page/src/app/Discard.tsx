// Deletes an agent's copy.

import { useSignal } from "@preact/signals";

import { words } from "../words/app";
import * as tasks from "./tasks";
import { Button, Dialog, Problem, sentence } from "./ui";

export function DiscardDialog({ session, onClose }: { session: string; onClose: (done: boolean) => void }) {
  const busy = useSignal(false);
  const problem = useSignal("");
  const freed = useSignal<number | undefined>(undefined);
  const go = (): void => {
    busy.value = true;
    problem.value = "";
    tasks
      .discard(session)
      .then(
        (answer) => (freed.value = answer.bytes),
        (error: unknown) => (problem.value = sentence(error)),
      )
      .finally(() => (busy.value = false));
  };
  const done = freed.value !== undefined;
  return (
    <Dialog
      title={words.discard.title}
      onClose={() => onClose(done)}
      foot={
        done ? (
          <Button kind="primary" onClick={() => onClose(true)}>
            {words.close}
          </Button>
        ) : (
          <>
            <Button onClick={() => onClose(false)}>{words.cancel}</Button>
            <Button kind="danger" icon="trash" busy={busy.value} onClick={go}>
              {busy.value ? words.discard.doing : words.discard.do}
            </Button>
          </>
        )
      }
    >
      {problem.value !== "" && <Problem text={problem.value} />}
      {freed.value === undefined ? (
        <>
          <p>{words.discard.lead}</p>
          <p class="muted">{words.discard.record}</p>
        </>
      ) : (
        <p role="status">{words.discard.done(freed.value)}</p>
      )}
    </Dialog>
  );
}
