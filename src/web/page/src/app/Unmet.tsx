// What a result was checked with: that it passed, or which checks failed and how to go on from there.

import { kind, label, type NEvent, value } from "../nostr/records";
import { commandOf, outputOf } from "../story/model";
import { line } from "../story/text";
import { words } from "../words/app";
import { type Check, type Conversation, isOpen, type Job, unmet } from "./conversations";
import type { Feed } from "./feed";
import { Icon } from "./icons";
import { draft } from "./keep";
import { commandsOf } from "./More";
import { Button } from "./ui";

/** What a result is checked with, and that it passed. */
export function Checked({ job }: { job: Job }) {
  const { checks, toCheck, state } = job;
  if (checks.length > 0 && unmet(checks).length === 0) {
    return (
      <span class="good" title={commandsOf(checks.map((check) => check.command))}>
        <Icon name="check" size={16} /> {words.checks.passed(checks.length)}
      </span>
    );
  }
  if (toCheck.length === 0 || !isOpen(state)) return null;
  return (
    <span>
      <Icon name="check" size={16} /> {words.choose.checks}: {commandsOf(toCheck)}
    </span>
  );
}

/** Failed checks that are named beside the field; all of them stand in the story. */
const NAMED = 3;
/** Lines of a check's output that the agent is told. */
const TOLD = 30;

/** Which checks failed, and how to go on from there. */
export function Unmet({ conversation, job, feed }: { conversation: Conversation; job: Job; feed: Feed }) {
  const text = draft(`session.${conversation.id}`);
  const failed = unmet(job.checks);
  if (job.state !== "done" || failed.length === 0) return null;
  const told = (check: Check): string => words.checks.one(line(check.command, 200), words.checks.how(check.exit));
  const mend = (): void => {
    const commands = failed.map((check) => `- ${check.command}: ${words.checks.how(check.exit)}`).join("\n");
    text.value = words.checks.mendText(commands, failed.map((check) => outputOfCheck(feed, job, check)).filter((said) => said !== "").join("\n\n"));
    document.querySelector<HTMLElement>("[data-field]")?.focus();
  };
  return (
    <div class="note bad ending">
      <div>
        <p>
          <strong>{words.checks.failed(failed.length, job.checks.length)}</strong>
        </p>
        <ul class="plain">
          {failed.slice(0, NAMED).map((check, at) => (
            <li key={at}>
              {check.command !== "" && <code>{line(check.command, 200)}</code>} <span>{words.checks.how(check.exit)}</span>
            </li>
          ))}
          {failed.length > NAMED && <li>{words.checks.others(failed.length - NAMED)}</li>}
        </ul>
      </div>
      {text.value === "" && (
        <div class="row">
          <Button icon="check" title={failed.map(told).join("; ")} onClick={mend}>
            {words.checks.mend}
          </Button>
        </div>
      )}
    </div>
  );
}

/** The end of what a check wrote, as it stands on the record. */
function outputOfCheck(feed: Feed, job: Job, check: Check): string {
  const ran = (event: NEvent): boolean => event.kind === kind.action && label(event) === "check" && value(event, "E") === job.id && commandOf(event) === check.command;
  const event = feed.events.value.findLast(ran);
  const lines = event === undefined ? [] : outputOf(event).trim().split("\n");
  return lines.slice(-TOLD).join("\n");
}
