// How those did who were asked the same: one row each, with what it took and what came of it.

import { signal } from "@preact/signals";

import { line } from "../story/text";
import { words } from "../words/app";
import { clock, count, dollars, short } from "../words/story";
import { ApplyDialog } from "./Apply";
import { unmet } from "./conversations";
import type { Lane } from "./lane";
import { doing } from "./Progress";
import { hrefs } from "./route";
import { Button, Chip } from "./ui";

/** Of more than so many each has one line. */
const FEW = 4;

/** The session whose changes are about to be taken home. */
const applying = signal<string | undefined>(undefined);

/** Takes the changes of one home, if it has any. */
export function Apply({ lane, primary }: { lane: Lane; primary?: boolean }) {
  const session = lane.feed.session.value;
  if (session === undefined || lane.working || (lane.diff.value?.changed ?? 0) === 0) return null;
  return (
    <Button icon="check" kind={primary === true ? "primary" : "plain"} title={words.compare.applyOf(lane.title)} onClick={() => (applying.value = session)}>
      {words.compare.apply}
    </Button>
  );
}

/** What is asked before anything comes home; once for all that offer it. */
export function Applying() {
  const session = applying.value;
  return session === undefined ? null : <ApplyDialog session={session} onClose={() => (applying.value = undefined)} />;
}

/** The least of those who are done, where they differ. */
function least(lanes: Lane[], figure: (lane: Lane) => number | undefined): number | undefined {
  const figures = lanes.filter((lane) => lane.job?.state === "done").flatMap((lane) => figure(lane) ?? []);
  return new Set(figures).size > 1 ? Math.min(...figures) : undefined;
}

const tokensOf = (lane: Lane): number | undefined => {
  const used = lane.feed.used.value;
  return used.calls > 0 ? used.read + used.written : undefined;
};

const costOf = (lane: Lane): number | undefined => {
  const used = lane.feed.used.value;
  return used.calls > 0 && !used.unpriced ? used.microusd : undefined;
};

/** One figure of a row. */
interface Told {
  text: string | undefined;
  best?: boolean;
  tone?: "good" | "bad";
  title?: string;
}

interface Best {
  seconds: number | undefined;
  tokens: number | undefined;
  cost: number | undefined;
}

/** What it took and what came of it; nothing where there is nothing to say. */
function figures(lane: Lane, best: Best): Told[] {
  const done = lane.job?.state === "done";
  const tokens = tokensOf(lane);
  const cost = costOf(lane);
  const diff = lane.diff.value;
  const lines = (diff?.files ?? []).reduce((sum, file) => ({ added: sum.added + file.added, removed: sum.removed + file.removed }), { added: 0, removed: 0 });
  const { checks } = lane;
  const failed = unmet(checks);
  return [
    { text: lane.state === "waiting" ? undefined : clock(lane.seconds), best: done && lane.seconds === best.seconds },
    { text: tokens === undefined ? undefined : short(tokens), best: done && tokens !== undefined && tokens === best.tokens },
    {
      text: cost === undefined ? (tokens === undefined ? undefined : words.session.costUnknown) : dollars(cost),
      best: done && cost !== undefined && cost === best.cost,
    },
    { text: diff === undefined || diff.changed === 0 ? undefined : `${count(diff.changed)} (+${lines.added} −${lines.removed})` },
    {
      text: checks.length === 0 ? undefined : words.compare.passed(checks.length - failed.length, checks.length),
      tone: failed.length === 0 ? "good" : "bad",
      title: failed.map((check) => words.checks.one(line(check.command, 200), words.checks.how(check.exit))).join("\n"),
    },
  ];
}

const NAMES = [words.compare.time, words.compare.tokens, words.compare.cost, words.compare.changed, words.compare.checks];

/** Median, least and most of figures, in words. */
function spread(name: string, figures: (number | undefined)[], write: (figure: number) => string): string[] {
  const sorted = figures.flatMap((figure) => figure ?? []).sort((a, b) => a - b);
  const [first, last] = [sorted[0], sorted.at(-1)];
  if (first === undefined || last === undefined) return [];
  const half = sorted.length >> 1;
  const middle = sorted.length % 2 === 1 ? (sorted[half] ?? 0) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2;
  return [words.compare.median(name, write(middle), write(first), write(last))];
}

/** What repetitions of one agent with one model come to; nothing where everybody was asked once. */
function sums(lanes: Lane[]): { name: string; said: string }[] {
  const groups = new Map<string, Lane[]>();
  for (const lane of lanes) {
    const name = lane.model === "" ? lane.title : `${lane.title} · ${lane.model}`;
    groups.set(name, [...(groups.get(name) ?? []), lane]);
  }
  if (groups.size === lanes.length) return [];
  return [...groups.entries()].map(([name, group]) => {
    const done = group.filter((lane) => lane.job?.state === "done");
    const said = [words.compare.done(done.length, group.length)];
    said.push(...spread(words.compare.time.toLowerCase(), done.map((lane) => lane.seconds), (seconds) => clock(Math.round(seconds))));
    said.push(...spread(words.compare.tokens.toLowerCase(), done.map(tokensOf), (tokens) => short(Math.round(tokens))));
    const costs = done.map(costOf);
    if (costs.some((cost) => (cost ?? 0) > 0)) said.push(...spread(words.compare.cost.toLowerCase(), costs, dollars));
    const checked = group.filter((lane) => lane.checks.length > 0);
    if (checked.length > 0) said.push(words.compare.allPassed(checked.filter((lane) => unmet(lane.checks).length === 0).length, checked.length));
    if (done.length > 1) said.push(words.compare.results(new Set(done.map((lane) => lane.outcome)).size));
    return { name, said: said.join(" · ") };
  });
}

/** How they did, or how they are doing as long as one of them is not over. */
export function Standings({ lanes, over }: { lanes: Lane[]; over: boolean }) {
  const best = { seconds: least(lanes, (lane) => lane.seconds), tokens: least(lanes, tokensOf), cost: least(lanes, costOf) };
  const rows = lanes.map((lane) => figures(lane, best));
  // A figure that nobody has is left out.
  const shown = NAMES.flatMap((_, at) => (rows.some((row) => row[at]?.text !== undefined) ? [at] : []));
  return (
    <section class="standings" aria-label={over ? words.compare.standings : words.compare.soFar}>
      <h2>{over ? words.compare.standings : words.compare.soFar}</h2>
      <ol class={lanes.length > FEW ? "dense" : ""} data-figures={shown.length}>
        {lanes.map((lane, at) => (
          <li key={lane.id}>
            <span class="number" aria-hidden="true">
              {at + 1}.
            </span>
            <div class="who">
              <a href={hrefs.session(lane.feed.conversation.value?.id ?? lane.id)}>{lane.title}</a>
              <span class="muted">{lane.model}</span>
              {!over && lane.working && lane.job !== undefined && <span class="muted now">{doing(lane.feed, lane.job)}</span>}
            </div>
            <Chip of={lane} />
            <dl>
              {shown.map((figure) => (
                <Figure key={figure} name={NAMES[figure] ?? ""} told={rows[at]?.[figure]} />
              ))}
            </dl>
            <Apply lane={lane} />
            {lane.job?.state === "failed" && <p class="why">{line(lane.job.said?.sentence ?? "", 300)}</p>}
          </li>
        ))}
      </ol>
      {over && <Sums lanes={lanes} />}
    </section>
  );
}

function Sums({ lanes }: { lanes: Lane[] }) {
  const all = sums(lanes);
  if (all.length === 0) return null;
  return (
    <ul class="sums">
      {all.map(({ name, said }) => (
        <li key={name}>
          <strong>{name}</strong> {said}
        </li>
      ))}
    </ul>
  );
}

function Figure({ name, told }: { name: string; told: Told | undefined }) {
  const best = told?.best === true;
  const title = told?.title || (best ? words.compare.least : undefined);
  return (
    <div class={`${best ? "best" : ""} ${told?.text === undefined ? "none" : (told.tone ?? "")}`} title={title}>
      <dt>{name}</dt>
      <dd>{told?.text ?? "–"}</dd>
    </div>
  );
}
