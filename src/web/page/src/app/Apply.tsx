// Takes an agent's changes home: shows first what would change, and asks.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";

import type { ApplyAnswer, Kept, PlanAnswer, Step, TakeBackAnswer } from "../nostr/workspace";
import { line } from "../story/text";
import { words } from "../words/app";
import * as tasks from "./tasks";
import { Busy, Button, Dialog, Problem, sentence } from "./ui";

/** There is nothing to be afraid of in what cannot be taken home. */
const LEFT_OUT = "left out";

export function ApplyDialog({ session, onClose }: { session: string; onClose: () => void }) {
  const plan = useSignal<PlanAnswer | undefined>(undefined);
  const applied = useSignal<ApplyAnswer | undefined>(undefined);
  const back = useSignal(false);
  const busy = useSignal(false);
  const problem = useSignal("");
  const typed = useSignal("");
  const look = (): void => {
    problem.value = "";
    plan.value = undefined;
    tasks.plan(session).then(
      (answer) => (plan.value = answer),
      (error: unknown) => (problem.value = sentence(error)),
    );
  };
  useEffect(look, [session]);
  if (back.value) return <TakeBack session={session} onClose={onClose} />;

  const planned = plan.value;
  const hidden = Object.entries(planned?.hidden ?? {}).filter(([about]) => about !== LEFT_OUT);
  const sure = hidden.length === 0 || typed.value.trim().toLowerCase() === words.apply.hiddenWords;
  const apply = (): void => {
    if (planned === undefined) return;
    busy.value = true;
    problem.value = "";
    tasks
      .apply(session, planned.plan)
      .then(
        (answer) => (applied.value = answer),
        (error: unknown) => (problem.value = sentence(error)),
      )
      .finally(() => (busy.value = false));
  };
  const done = applied.value;
  const nothing = planned !== undefined && planned.total === 0;
  const foot: ComponentChildren =
    done !== undefined ? (
      <>
        <Button icon="undo" onClick={() => (back.value = true)}>
          {words.apply.takeBack}
        </Button>
        <Button kind="primary" onClick={onClose}>
          {words.close}
        </Button>
      </>
    ) : (
      <>
        <Button onClick={onClose}>{words.cancel}</Button>
        {problem.value !== "" && <Button onClick={look}>{words.apply.stale}</Button>}
        {!nothing && (
          <Button kind="primary" icon="check" busy={busy.value} disabled={planned === undefined || !sure || problem.value !== ""} onClick={apply}>
            {busy.value ? words.apply.doing : words.apply.do}
          </Button>
        )}
      </>
    );
  return (
    <Dialog wide title={words.apply.title} onClose={onClose} foot={foot}>
      {problem.value !== "" && <Problem text={problem.value} />}
      {done !== undefined ? (
        <Done answer={done} />
      ) : planned === undefined ? (
        problem.value === "" && <Busy text={words.apply.looking} />
      ) : nothing ? (
        <p>{words.apply.nothing}</p>
      ) : (
        <>
          <p>{words.apply.lead(line(planned.project ?? "", 400))}</p>
          {planned.settled !== undefined && <p class="note">{words.apply.settled(planned.settled)}</p>}
          <LeftAlone kept={planned.unsettled ?? []} />
          <Steps plan={planned} />
          {hidden.length > 0 && (
            <div class="note bad">
              <p>{words.apply.hidden}</p>
              <ul class="plain">
                {hidden.map(([about, count]) => (
                  <li key={about}>
                    {count}: {line(about, 200)}
                  </li>
                ))}
              </ul>
              <label>
                {words.apply.hiddenType} <code>{words.apply.hiddenWords}</code>
                <input value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />
              </label>
            </div>
          )}
          <p class="muted">{words.apply.safe}</p>
        </>
      )}
    </Dialog>
  );
}

function Steps({ plan }: { plan: PlanAnswer }) {
  const noted = plan.steps.filter((step) => (step.notes?.length ?? 0) > 0);
  const rest = plan.steps.filter((step) => (step.notes?.length ?? 0) === 0);
  const more = plan.total - plan.steps.length;
  return (
    <>
      {plan.conflicts > 0 && <p class="note bad">{words.apply.conflicts(plan.conflicts)}</p>}
      {noted.length > 0 && (
        <>
          <h3>{words.apply.look}</h3>
          <List steps={noted} />
          {rest.length > 0 && <h3>{words.apply.rest}</h3>}
        </>
      )}
      <List steps={rest} />
      {more > 0 && <p class="muted">{words.apply.more(more)}</p>}
    </>
  );
}

function List({ steps }: { steps: Step[] }) {
  return (
    <ul class="steps">
      {steps.map((step) => (
        <li key={step.path} class={step.action}>
          <span class="tag">{words.apply.actions[step.action] ?? line(step.action, 20)}</span>
          <code>{line(step.path, 300)}</code>
          {step.notes?.map((note) => (
            <p key={note}>{line(note, 400)}</p>
          ))}
        </li>
      ))}
    </ul>
  );
}

function Done({ answer }: { answer: ApplyAnswer }) {
  return (
    <div role="status">
      <p class="good">{words.apply.done(answer.written, answer.removed)}</p>
      {answer.conflicts.length > 0 && (
        <div class="note bad">
          <p>{words.apply.inConflict}</p>
          <ul class="plain">
            {answer.conflicts.map((path) => (
              <li key={path}>
                <code>{line(path, 300)}</code>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}

function LeftAlone({ kept }: { kept: Kept[] }) {
  if (kept.length === 0) return null;
  return (
    <div class="note">
      <p>{words.apply.kept}</p>
      <ul class="plain">
        {kept.map((one) => (
          <li key={one.path}>
            <code>{line(one.path, 300)}</code>: {line(one.why, 200)}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Takes the last apply back. */
export function TakeBack({ session, onClose }: { session: string; onClose: () => void }) {
  const answer = useSignal<TakeBackAnswer | undefined>(undefined);
  const busy = useSignal(false);
  const problem = useSignal("");
  const go = (): void => {
    busy.value = true;
    problem.value = "";
    tasks
      .takeBack(session)
      .then(
        (found) => (answer.value = found),
        (error: unknown) => (problem.value = sentence(error)),
      )
      .finally(() => (busy.value = false));
  };
  const done = answer.value;
  return (
    <Dialog
      title={words.apply.takeBackTitle}
      onClose={onClose}
      foot={
        done === undefined ? (
          <>
            <Button onClick={onClose}>{words.cancel}</Button>
            {problem.value === "" && (
              <Button kind="primary" icon="undo" busy={busy.value} onClick={go}>
                {busy.value ? words.apply.takingBack : words.apply.takeBack}
              </Button>
            )}
          </>
        ) : (
          <Button kind="primary" onClick={onClose}>
            {words.close}
          </Button>
        )
      }
    >
      {problem.value !== "" && <Problem text={problem.value} />}
      {done === undefined ? (
        problem.value === "" && <p>{words.apply.takeBackLead}</p>
      ) : (
        <div role="status">
          <p class="good">{words.apply.tookBack(done.restored, done.merged ?? 0)}</p>
          <LeftAlone kept={done.kept ?? []} />
        </div>
      )}
    </Dialog>
  );
}
