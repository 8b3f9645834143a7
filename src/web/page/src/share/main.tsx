// A shared session: what it was, whether it is what was signed, and the story of it. It asks nothing of any network.

import "../style/base.css";
import "../style/story.css";
import "../style/share.css";

import { signal } from "@preact/signals";
import { type JSX, render } from "preact";
import { useEffect, useMemo } from "preact/hooks";

import { Mark } from "../app/art";
import { prompt } from "../nostr/jobs";
import { isPrivate, JOBS, kind, type NEvent, number, tag, value } from "../nostr/records";
import { outcome, Story as Model } from "../story/model";
import { Icon, Path } from "../story/parts";
import { Counts } from "../story/Diff";
import { Story } from "../story/Story";
import { line } from "../story/text";
import { count, dollars, lasted, moment, short, took, words } from "../words/story";
import { Badge } from "./Badge";
import { type Bundle, read } from "./bundle";
import { type Checked, check } from "./check";
import { SessionMap } from "./Map";

/** Files that are listed at the top. */
const FILES = 8;

const checked = signal<Checked | undefined>(undefined);
const suspect = signal<ReadonlySet<string>>(new Set());
const events = signal<NEvent[]>([]);
const plain = signal(new Map<string, string | null>());
const step = signal(location.hash.slice(1));

const linkTo = (id: string): string => `#${id.slice(0, 16)}`;
addEventListener("hashchange", () => {
  step.value = location.hash.slice(1);
});

function Page({ bundle }: { bundle: Bundle }): JSX.Element {
  const model = useMemo(() => {
    const made = new Model();
    made.take(bundle.story);
    return made;
  }, [bundle]);
  useEffect(() => {
    void check(bundle, (found) => {
      checked.value = found;
      if (found.bad.length !== suspect.value.size) suspect.value = new Set(found.bad);
    });
  }, [bundle]);
  const start = bundle.records.find((record) => record.kind === kind.start);
  const asked = bundle.story.find((event) => JOBS.includes(event.kind));
  if (start === undefined && bundle.records.length === 0) return <p class="h-nothing">{words.share.empty}</p>;
  const hidden = bundle.records.some((record) => tag(record, "withheld") !== undefined) || (asked !== undefined && isPrivate(asked));
  const text = asked === undefined ? undefined : prompt(asked, bundle.plain.get(asked.id));
  const title = line(text ?? "", 160) || (hidden ? words.share.privateTitle : words.share.untitled);
  const found = checked.value ?? { done: 0, total: bundle.events.length, good: 0, records: bundle.records.length, findings: [], bad: [], ended: false, over: false };
  return (
    <main class="share">
      <header class="h-head">
        <p class="h-by">
          <Mark class="h-mark" />
          {words.share.by(start === undefined ? words.agent : words.started(name(start, "role"), name(start, "model")))}
        </p>
        <h1>{title}</h1>
        <p class="h-when">
          {start !== undefined && <time dateTime={new Date(start.created_at * 1000).toISOString()}>{moment(start.created_at)}</time>}
          <Outcome bundle={bundle} />
          {start !== undefined && <span>{sandbox(start)}</span>}
        </p>
        {hidden && <p class="h-private">{bundle.plain.size > 0 ? words.share.words : words.share.private}</p>}
        <Badge bundle={bundle} checked={found} />
        <Facts bundle={bundle} model={model} />
        <SessionMap story={model} go={(id) => (location.hash = linkTo(id))} />
        <Changed model={model} />
      </header>
      <Story events={events} plain={plain} linkTo={linkTo} step={step.value === "" ? undefined : step.value} suspect={suspect} window shared />
      <footer class="h-foot">
        <p>{words.share.foot}</p>
        <p>{words.share.redacted}</p>
      </footer>
    </main>
  );
}

const name = (event: NEvent, of: string): string => line(value(event, of) ?? "", 60);

function sandbox(start: NEvent): string {
  const env = tag(start, "env") ?? [];
  const named = (word: string): string => line(env.find((part) => part.startsWith(`${word}=`))?.slice(word.length + 1) ?? "", 20);
  return words.sandbox(named("sandbox"), named("network"));
}

function Outcome({ bundle }: { bundle: Bundle }): JSX.Element | null {
  const end = bundle.records.find((record) => record.kind === kind.end);
  if (end === undefined) {
    const answered = bundle.records.some((record) => value(record, "alt") === "Answered");
    return answered ? <span class="s-chip">{words.share.answered}</span> : null;
  }
  const how = outcome(end);
  const good = how === "success";
  return (
    <span class={`s-chip ${good ? "good" : how === "partial" ? "warn" : "bad"}`}>
      <Icon name={good ? "check" : "ended"} />
      {words.outcomes[how] ?? line(how, 30)}
    </span>
  );
}

/** What it took and what came of it, in numbers. */
function Facts({ bundle, model }: { bundle: Bundle; model: Model }): JSX.Element {
  const { totals } = model;
  const share = words.share;
  const [first, last] = [bundle.records[0], bundle.records[bundle.records.length - 1]];
  const seconds = last?.kind === kind.end ? number(last, "duration_s") : undefined;
  // How long it was at work; a session stays open for a while after its last answer.
  const ms = Math.max(totals.turnMs, totals.commandMs);
  const time = ms > 0 ? took(ms) : lasted(seconds ?? (last?.created_at ?? 0) - (first?.created_at ?? 0));
  const used = totals.tokensIn + totals.tokensOut || (last === undefined ? 0 : (number(last, "tokens") ?? 0));
  const tier = first === undefined ? "" : value(first, "tier");
  const cost = totals.calls === 0 ? "" : totals.unpriced > 0 && totals.microusd === 0 ? share.unpriced : dollars(totals.microusd);
  const facts: [string, string, string][] = [
    [share.time, time, ""],
    [share.tokens, used === 0 ? "" : short(used), totals.calls === 0 ? "" : words.quiet.calls(totals.calls)],
    [share.cost, cost, cost === "$0" && tier === "local" ? share.local : ""],
    [share.files, model.paths.size === 0 ? "" : count(model.paths.size), totals.added + totals.removed === 0 ? "" : `+${count(totals.added)} −${count(totals.removed)}`],
    [share.commands, totals.commands === 0 ? "" : count(totals.commands), totals.points === 0 ? "" : words.checkpoints(totals.points)],
    [share.problemsFound, totals.problems + totals.unclaimed === 0 ? share.none : count(totals.problems + totals.unclaimed), ""],
  ];
  return (
    <dl class="h-facts">
      {facts
        .filter(([, fact]) => fact !== "")
        .map(([label, fact, more]) => (
          <div>
            <dt>{label}</dt>
            <dd>
              {fact}
              {more !== "" && <small>{more}</small>}
            </dd>
          </div>
        ))}
    </dl>
  );
}

function Changed({ model }: { model: Model }): JSX.Element | null {
  const all = [...model.paths].sort(([, a], [, b]) => b[0] + b[1] - a[0] - a[1]);
  if (all.length === 0) return null;
  return (
    <section class="h-changed">
      <h2>{words.share.changed}</h2>
      <ul>
        {all.slice(0, FILES).map(([path, [added, removed]]) => (
          <li>
            <Path path={path} />
            <Counts added={added} removed={removed} />
          </li>
        ))}
        {all.length > FILES && <li class="s-faint">{words.share.andFiles(all.length - FILES)}</li>}
      </ul>
    </section>
  );
}

const root = document.getElementById("share");
const record = document.getElementById("record");
if (root !== null && record !== null) {
  const bundle = read(record.textContent ?? "");
  // What was read needs no place in the page any more.
  record.remove();
  events.value = bundle.story;
  plain.value = new Map(bundle.plain);
  render(<Page bundle={bundle} />, root);
}
