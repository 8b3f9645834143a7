// What the check of the signatures found, and how that can be known.

import type { JSX } from "preact";

import { Icon } from "../story/parts";
import { words } from "../words/story";
import type { Bundle } from "./bundle";
import type { Checked, Finding } from "./check";

/** Problems that are named. */
const NAMED = 5;

export function Badge({ bundle, checked }: { bundle: Bundle; checked: Checked }): JSX.Element {
  const share = words.share;
  const others = bundle.events.length - bundle.records.length;
  // An open session is cut off, and not broken.
  const wrong = checked.findings.filter(({ problem }) => problem !== "end");
  const state = wrong.length > 0 ? "bad" : !checked.over ? "busy" : checked.ended ? "good" : "open";
  const text =
    state === "bad"
      ? share.bad
      : state === "busy"
        ? share.checking(checked.done, checked.total)
        : state === "good"
          ? share.good(checked.records)
          : share.open(checked.records);
  return (
    <section class={`h-badge ${state}`} aria-label={text}>
      <p class="h-verdict" role="status">
        <span class="h-seal">
          <Icon name={state === "bad" ? "cross" : state === "good" ? "check" : "quiet"} />
        </span>
        <strong>{text}</strong>
      </p>
      {(state === "good" || state === "open") && <p class="h-just">{share.just}</p>}
      {state === "busy" && <progress max={checked.total} value={checked.done} aria-label={text} />}
      {state === "bad" && <Problems findings={wrong} checked={checked} />}
      <details>
        <summary>{share.how}</summary>
        {share.howText.map((text) => (
          <p>{text}</p>
        ))}
        {others > 0 && <p>{share.others(others)}</p>}
        <p>{share.howNot}</p>
        <p>
          {share.howDoubt} <code>{share.command}</code>
        </p>
        <p>
          {share.key}: <code class="h-key">{bundle.session ?? ""}</code>
        </p>
      </details>
    </section>
  );
}

function Problems({ findings, checked }: { findings: Finding[]; checked: Checked }): JSX.Element {
  const share = words.share;
  const said = findings.map(({ problem, seq }) => share.problems[problem](seq === undefined ? share.other : share.step(seq)));
  const all = [...new Set(said)];
  return (
    <ul class="h-problems">
      <li>{share.badCount(checked.good, checked.records)}</li>
      {all.slice(0, NAMED).map((text) => (
        <li>{text.charAt(0).toUpperCase() + text.slice(1)}</li>
      ))}
      {all.length > NAMED && <li>{share.more(all.length - NAMED)}</li>}
    </ul>
  );
}
