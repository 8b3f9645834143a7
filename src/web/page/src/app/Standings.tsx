// How those did who were asked the same: one row each, with what it took and what came of it.

import { signal } from "@preact/signals";

import { line } from "../story/text";
import { words } from "../words/app";
import { clock, count, dollars, short } from "../words/story";
import { ApplyDialog } from "./Apply";
import type { Lane } from "./lane";
import { hrefs } from "./route";
import { Button, Chip } from "./ui";

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
  const failed = checks.filter((check) => check.exit !== 0);
  return [
    { text: clock(lane.seconds), best: done && lane.seconds === best.seconds },
    { text: tokens === undefined ? undefined : short(tokens), best: done && tokens !== undefined && tokens === best.tokens },
    {
      text: cost === undefined ? (tokens === undefined ? undefined : words.session.costUnknown) : dollars(cost),
      best: done && cost !== undefined && cost === best.cost,
    },
    { text: diff === undefined || diff.changed === 0 ? undefined : `${count(diff.changed)} (+${lines.added} −${lines.removed})` },
    {
      text: checks.length === 0 ? undefined : words.compare.passed(checks.length - failed.length, checks.length),
      tone: failed.length === 0 ? "good" : "bad",
      title: failed.map((check) => words.compare.checkFailed(check.command, check.exit)).join("\n"),
    },
  ];
}

const NAMES = [words.compare.time, words.compare.tokens, words.compare.cost, words.compare.changed, words.compare.checks];

export function Standings({ lanes }: { lanes: Lane[] }) {
  const best = { seconds: least(lanes, (lane) => lane.seconds), tokens: least(lanes, tokensOf), cost: least(lanes, costOf) };
  const rows = lanes.map((lane) => figures(lane, best));
  // A figure that nobody has is left out.
  const shown = NAMES.flatMap((_, at) => (rows.some((row) => row[at]?.text !== undefined) ? [at] : []));
  return (
    <section class="standings" aria-label={words.compare.standings}>
      <h2>{words.compare.standings}</h2>
      <ol data-figures={shown.length}>
        {lanes.map((lane, at) => (
          <li key={lane.id}>
            <span class="number" aria-hidden="true">
              {at + 1}.
            </span>
            <div class="who">
              <a href={hrefs.session(lane.feed.conversation.value?.id ?? lane.id)}>{lane.title}</a>
              <span class="muted">{lane.model}</span>
            </div>
            {lane.job !== undefined && <Chip state={lane.job.state} />}
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
    </section>
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
