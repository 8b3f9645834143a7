// Conversations side by side: the same question to several agents, what each does, how they did, and one taken home.

import { useEffect, useRef } from "preact/hooks";

import { prompt } from "../nostr/jobs";
import { Prose } from "../story/parts";
import { line } from "../story/text";
import { words } from "../words/app";
import { clock, dollars, short } from "../words/story";
import { Asks } from "./Asks";
import { Changed } from "./Changed";
import type { Check, Conversation } from "./conversations";
import { Icon } from "./icons";
import { Lane } from "./lane";
import { Progress, step } from "./Progress";
import { go, hrefs } from "./route";
import { titleOf } from "./Sessions";
import { Apply, Applying, Standings } from "./Standings";
import { conversations, me, store } from "./state";
import type { Store } from "./store";
import { Busy, Button, Chip } from "./ui";

/** Of more than so many the standings are there from the beginning: not all can be in sight. */
const IN_SIGHT = 4;
/** How much of an answer is shown here. */
const SHOWN = 6000;

/** Whether a comparison is the owner's: a guest's job joins nothing. */
export function isMine(one: Conversation): boolean {
  const [first] = one.jobs;
  const operator = me.value?.operator;
  if (first?.event !== undefined) return first.event.pubkey === operator;
  return first?.inner?.tags.some((tag) => tag[0] === "q" && tag[1] === one.comparison?.id && tag[3] === operator) === true;
}

/** Those that were asked the same at once, in the order in which they were asked. */
function asked(comparison: string): string[] {
  const all = conversations.value.filter((one) => one.comparison?.id === comparison && isMine(one));
  return all.sort((a, b) => (a.comparison?.n ?? 0) - (b.comparison?.n ?? 0)).map((one) => one.id);
}

export function Compare({ ids, comparison }: { ids: string[]; comparison: string | undefined }) {
  const known = store.value;
  if (known === undefined) return null;
  void known.version.value;
  return <Lanes ids={comparison === undefined ? ids : asked(comparison)} known={known} together={comparison !== undefined} />;
}

function Lanes({ ids, known, together }: { ids: string[]; known: Store; together: boolean }) {
  const kept = useRef(new Map<string, Lane>());
  const lanes = ids.map((id) => {
    const lane = kept.current.get(id) ?? new Lane(id, known);
    kept.current.set(id, lane);
    return lane;
  });
  useEffect(() => {
    for (const [id, lane] of kept.current) {
      if (ids.includes(id)) continue;
      lane.close();
      kept.current.delete(id);
    }
  }, [ids.join()]);
  useEffect(() => {
    const all = kept.current;
    return () => {
      for (const lane of all.values()) lane.close();
    };
  }, []);
  const questions = new Set(
    ids.map((id) => {
      const event = known.jobs.get(id)?.event;
      return event === undefined ? id : (prompt(event, known.plain.get(id)) ?? id);
    }),
  );
  const same = questions.size === 1 ? [...questions][0] : undefined;
  const over = lanes.length > 1 && lanes.every((lane) => lane.job !== undefined && !lane.working);
  return (
    <div class="page compare">
      <header class="page-head">
        <h1>{words.compare.title}</h1>
        {same !== undefined && (
          <p class="lead" title={words.compare.same}>
            “{line(same, 300)}”
          </p>
        )}
      </header>
      {ids.length < 2 && (
        <div class="empty">
          <p>{words.compare.none}</p>
          <a class="button primary" href={hrefs.sessions}>
            {words.compare.choose}
          </a>
        </div>
      )}
      {(over || lanes.length > IN_SIGHT) && <Standings lanes={lanes} over={over} />}
      <div class={lanes.length > IN_SIGHT ? "columns many" : "columns"}>
        {lanes.map((lane, at) => (
          <Column
            key={lane.id}
            lane={lane}
            many={lanes.length > IN_SIGHT}
            number={together ? at + 1 : undefined}
            titled={same === undefined}
            onRemove={together ? undefined : () => go(hrefs.compare(ids.filter((other) => other !== lane.id)))}
          />
        ))}
      </div>
      <Applying />
    </div>
  );
}

interface ColumnProps {
  lane: Lane;
  /** One of many, which stand above it as well. */
  many: boolean;
  /** Which of those who were asked the same. */
  number: number | undefined;
  titled: boolean;
  onRemove: (() => void) | undefined;
}

function Column({ lane, many, number, titled, onRemove }: ColumnProps) {
  const { feed, job, working } = lane;
  const session = feed.session.value;
  const files = lane.onFiles;
  useEffect(() => void store.value?.load(lane.id), [lane.id]);
  useEffect(() => {
    if (session !== undefined && !working && files) lane.look(session);
  }, [session, working, files]);
  const conversation = feed.conversation.value;
  if (conversation === undefined || job === undefined) return <Busy text={words.loading} />;
  const used = feed.used.value;
  const { said, title } = lane;
  const diff = lane.diff.value;
  return (
    <article class={`column ${working ? "working" : ""}`} aria-label={number === undefined ? title : `${number}. ${title}`}>
      <header>
        <div>
          <h2>
            {number !== undefined && <span class="number">{number}.</span>}
            <a href={hrefs.session(conversation.id)}>{title}</a>
          </h2>
          <p class="muted">{lane.model}</p>
        </div>
        <Chip of={lane} />
        {onRemove !== undefined && <Button icon="close" kind="quiet" label={words.compare.remove(title)} onClick={onRemove} />}
      </header>
      {titled && <p class="question">“{titleOf(conversation)}”</p>}
      {!working && (
        <dl class="figures">
          <div>
            <dt>{words.compare.time}</dt>
            <dd>{clock(lane.seconds)}</dd>
          </div>
          {used.calls > 0 && (
            <>
              <div>
                <dt>{words.compare.tokens}</dt>
                <dd>{short(used.read + used.written)}</dd>
              </div>
              <div>
                <dt>{words.compare.cost}</dt>
                <dd>{used.unpriced ? words.session.costUnknown : dollars(used.microusd)}</dd>
              </div>
            </>
          )}
          {diff !== undefined && (
            <div>
              <dt>{words.compare.changed}</dt>
              <dd>{diff.changed}</dd>
            </div>
          )}
        </dl>
      )}
      {working && <Progress feed={feed} />}
      {working && lane.latest.length > 0 && (
        <ol class="latest">
          {lane.latest.map((event) => (
            <li key={event.id}>{step(event)}</li>
          ))}
        </ol>
      )}
      {conversation.question !== undefined && <Asks key={conversation.question.id} question={conversation.question} />}
      <div class="answer story" tabIndex={0} role="group" aria-label={words.compare.answer}>
        {said === "" ? <p class="muted">{job.state === "failed" ? line(job.said?.sentence ?? "", 400) : words.compare.noAnswer}</p> : <Prose text={said.slice(0, SHOWN)} />}
      </div>
      {lane.problem.value !== "" && <p class="muted">{lane.problem.value}</p>}
      <Checks checks={lane.checks} />
      {diff !== undefined && <Changed diff={diff} working={working} />}
      <div class="row">
        <Apply lane={lane} primary={!many} />
        <a class="button" href={hrefs.session(conversation.id)}>
          {words.compare.open}
        </a>
      </div>
    </article>
  );
}

/** How the commands that were run on the result ended. */
function Checks({ checks }: { checks: Check[] }) {
  if (checks.length === 0) return null;
  return (
    <ul class="ran" aria-label={words.compare.checks}>
      {checks.map((check, at) => (
        <li key={at} class={check.exit === 0 ? "good" : "bad"}>
          <Icon name={check.exit === 0 ? "check" : "close"} size={16} />
          {check.command !== "" && <code>{line(check.command, 200)}</code>}
          <span>{words.checks.how(check.exit)}</span>
        </li>
      ))}
    </ul>
  );
}
