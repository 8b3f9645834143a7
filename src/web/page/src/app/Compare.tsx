// Conversations side by side: the same question to several agents, their answers, what they changed, what it took.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import { prompt } from "../nostr/jobs";
import { isPrivate, kind, value } from "../nostr/records";
import type { DiffAnswer } from "../nostr/workspace";
import { Prose } from "../story/parts";
import { line } from "../story/text";
import { words } from "../words/app";
import { clock, dollars, short } from "../words/story";
import { Asks } from "./Asks";
import { Changed } from "./Changed";
import { agentNamed, agentTitle } from "./choice";
import { isOpen } from "./conversations";
import { Feed } from "./feed";
import { Progress } from "./Progress";
import { go, hrefs } from "./route";
import { titleOf } from "./Sessions";
import { now, store } from "./state";
import * as tasks from "./tasks";
import { Busy, Button, Chip, sentence } from "./ui";

/** How much of an answer is shown here. */
const SHOWN = 6000;

export function Compare({ ids }: { ids: string[] }) {
  const known = store.value;
  if (known === undefined) return null;
  void known.version.value;
  const questions = new Set(
    ids.map((id) => {
      const event = known.jobs.get(id)?.event;
      return event === undefined ? id : (prompt(event, known.plain.get(id)) ?? id);
    }),
  );
  const same = questions.size === 1 ? [...questions][0] : undefined;
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
      <div class="columns">
        {ids.map((id) => (
          <Column key={id} id={id} titled={same === undefined} onRemove={() => go(hrefs.compare(ids.filter((other) => other !== id)))} />
        ))}
      </div>
    </div>
  );
}

function Column({ id, titled, onRemove }: { id: string; titled: boolean; onRemove: () => void }) {
  const known = store.value;
  const feed = useMemo(() => (known === undefined ? undefined : new Feed(id, known)), [id, known]);
  const diff = useSignal<DiffAnswer | undefined>(undefined);
  const problem = useSignal("");
  useEffect(() => () => feed?.close(), [feed]);
  useEffect(() => void known?.load(id), [id, known]);
  const conversation = feed?.conversation.value;
  const job = conversation?.jobs.at(-1);
  const session = feed?.session.value;
  const working = job !== undefined && isOpen(job.state);
  const files = conversation?.task === true && agentNamed(conversation.agent ?? "")?.workspace !== false;
  useEffect(() => {
    if (session === undefined || working || !files) return;
    // From how it began, whatever was applied since.
    tasks.diff(session, 1).then(
      (found) => (diff.value = found),
      (error: unknown) => (problem.value = sentence(error)),
    );
  }, [session, working, files]);
  if (feed === undefined || conversation === undefined || job === undefined) return <Busy text={words.loading} />;

  const used = feed.used.value;
  const seconds = (working ? now.value : (job.endedAt ?? job.saidAt)) - job.at;
  const message = feed.events.value.findLast((event) => event.kind === kind.action && value(event, "l") === "message");
  const result = job.result;
  const said =
    result === undefined
      ? feed.live.value || (message?.content ?? "")
      : isPrivate(result)
        ? (known?.plain.get(result.id) ?? "")
        : result.content;
  return (
    <article class="column" aria-label={agentTitle(conversation.agent)}>
      <header>
        <div>
          <h2>
            <a href={hrefs.session(conversation.id)}>{agentTitle(conversation.agent)}</a>
          </h2>
          <p class="muted">{line((used.model === "none" ? undefined : used.model) ?? conversation.model ?? "", 60)}</p>
        </div>
        <Chip state={job.state} />
        <Button icon="close" kind="quiet" label={words.compare.remove(agentTitle(conversation.agent))} onClick={onRemove} />
      </header>
      {titled && <p class="question">“{titleOf(conversation)}”</p>}
      <dl class="figures">
        <div>
          <dt>{words.compare.time}</dt>
          <dd>{clock(seconds)}</dd>
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
        {diff.value !== undefined && (
          <div>
            <dt>{words.compare.changed}</dt>
            <dd>{diff.value.changed}</dd>
          </div>
        )}
      </dl>
      {working && <Progress feed={feed} />}
      {conversation.question !== undefined && <Asks key={conversation.question.id} question={conversation.question} />}
      <div class="answer story" tabIndex={0} role="group" aria-label={words.compare.answer}>
        {said === "" ? <p class="muted">{job.state === "failed" ? line(job.said?.sentence ?? "", 400) : words.compare.noAnswer}</p> : <Prose text={said.slice(0, SHOWN)} />}
      </div>
      {problem.value !== "" && <p class="muted">{problem.value}</p>}
      {diff.value !== undefined && <Changed diff={diff.value} working={working} />}
      <a class="button" href={hrefs.session(conversation.id)}>
        {words.compare.open}
      </a>
    </article>
  );
}
