// What is missing before anything can be done, and how to get it.

import { line } from "../story/text";
import { words } from "../words/app";
import { hrefs } from "./route";
import { status } from "./state";
import { Command } from "./ui";

export function Missing() {
  const known = status.value;
  if (known === undefined) return null;
  const { runtime } = known;
  if (!runtime.ok) {
    return (
      <div class="note warn" role="status">
        <h2>{words.missing.sandbox}</h2>
        <p>{line(runtime.detail, 600)}</p>
        {runtime.fix !== undefined && <p>{line(runtime.fix, 600)}</p>}
        <p class="muted">
          {words.missing.still} <a href={hrefs.touch}>{words.missing.all}</a>
        </p>
      </div>
    );
  }
  if (known.model_problem === null || known.default_model !== null) return null;
  return (
    <div class="note warn" role="status">
      <h2>{words.missing.title}</h2>
      <p>{line(known.model_problem, 600)}</p>
      <p class="muted">{words.missing.still}</p>
      <p>{words.missing.demo}</p>
      <Command text={words.missing.demoCommand} />
    </div>
  );
}
