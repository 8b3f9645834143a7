// What is missing before anything can be done, and how to get it.

import { useSignal } from "@preact/signals";

import { demo } from "../nostr/api";
import { line } from "../story/text";
import { words } from "../words/app";
import { hrefs } from "./route";
import { status } from "./state";
import { openLater } from "./tabs";
import { Button, Command, Problem, Said, sentence } from "./ui";

/** What a sentence tells to type, each to be copied. */
export function Commands({ text }: { text: string }) {
  const found = [...text.matchAll(/`([^`\n]{3,200})`/g)].map((match) => match[1] ?? "");
  return <>{[...new Set(found)].slice(0, 4).map((command) => <Command key={command} text={command} />)}</>;
}

export function Missing() {
  const known = status.value;
  if (known === undefined) return null;
  const { runtime } = known;
  if (!runtime.ok) {
    return (
      <div class="note warn" role="status">
        <h2>{words.missing.sandbox}</h2>
        <p>
          <Said text={line(runtime.detail, 600)} />
        </p>
        {runtime.fix !== undefined && (
          <p>
            <Said text={line(runtime.fix, 600)} />
          </p>
        )}
        <Commands text={line(runtime.fix ?? "", 600)} />
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
      <p>
        <Said text={line(known.model_problem, 600)} />
      </p>
      <Commands text={line(known.model_problem, 600)} />
      {!known.model_problem.includes("ollama pull") && (
        <>
          <p>{words.missing.then}</p>
          <Command text={words.missing.pull} />
        </>
      )}
      <p>{words.missing.still}</p>
      <p>{words.missing.demo}</p>
      <Demo />
    </div>
  );
}

/** Starts the demo and shows it in a tab of its own. */
function Demo() {
  const starting = useSignal(false);
  const problem = useSignal("");
  const start = (): void => {
    starting.value = true;
    problem.value = "";
    openLater(demo)
      .catch((error: unknown) => (problem.value = sentence(error)))
      .finally(() => (starting.value = false));
  };
  return (
    <>
      {problem.value !== "" && <Problem text={problem.value} />}
      <div class="row">
        <Button icon="play" busy={starting.value} onClick={start}>
          {starting.value ? words.missing.demoStarts : words.missing.demoStart}
        </Button>
      </div>
    </>
  );
}
