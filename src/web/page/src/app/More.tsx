// What few need, behind one button: what an agent may reach, what its result is checked with, how often it is asked.
// What is chosen here holds for one question: a network most of all is no habit.

import { signal } from "@preact/signals";
import { useId } from "preact/hooks";

import { MAX_COMPARED } from "../nostr/comparison";
import { line } from "../story/text";
import { words } from "../words/app";
import { conversations, me } from "./state";
import { Button } from "./ui";

/** The rule by which every other host is asked for (nips/90.md, A network). */
const ASK = "ask";
/** Commands of one job, and how often it may be asked from here. */
const MAX_CHECKS = 8;
const MAX_TIMES = 8;
/** How much of a command is shown beside others. */
const SHOWN = 80;

export interface Extras {
  /** Names of lists of hosts. */
  lists: string[];
  /** Hosts as they are typed; missing when none are meant. */
  hosts: string | undefined;
  /** Whether every other host is asked for. */
  asks: boolean;
  /** Commands, one a line. */
  checks: string;
  times: number;
}

export const NOTHING: Extras = { lists: [], hosts: undefined, asks: false, checks: "", times: 1 };

export const extras = signal<Extras>(NOTHING);
export const showsMore = signal(false);

const networks = (): Record<string, string[]> => me.value?.networks ?? {};

/** The words of a list that is typed. */
const split = (text: string): string[] => text.split(/[\s,;]+/).filter((word) => word !== "");

/** As a question has it. */
export const networkOf = ({ lists, hosts, asks }: Extras): string[] => [...lists, ...split(hosts ?? ""), ...(asks ? [ASK] : [])];

/** As a question has it. */
export const checksOf = ({ checks }: Extras): string[] =>
  checks
    .split("\n")
    .map((command) => command.trim())
    .filter((command) => command !== "");

/** The same choices again, out of a question. */
export function extrasOf(network: string[], checks: string[]): Extras {
  const isList = (rule: string): boolean => rule in networks();
  const hosts = network.filter((rule) => rule !== ASK && !isList(rule));
  return {
    lists: network.filter(isList),
    hosts: hosts.length === 0 ? undefined : hosts.join(", "),
    asks: network.includes(ASK),
    checks: checks.join("\n"),
    times: 1,
  };
}

/** Why it cannot be asked like that. */
export function wrong(chosen: Extras, many: number): string | undefined {
  const hosts = split(chosen.hosts ?? "");
  const odd = hosts.find((host) => host.includes("/"));
  if (odd !== undefined) return words.choose.noPath(line(odd, 60));
  if (chosen.hosts !== undefined && hosts.length === 0) return words.choose.noHost;
  if (checksOf(chosen).length > MAX_CHECKS) return words.choose.manyChecks(MAX_CHECKS);
  if (many > MAX_COMPARED) return words.choose.tooMany(many, MAX_COMPARED);
  return undefined;
}

/** What rules let an agent reach, and what that means. */
export function reaches(network: string[]): string {
  const asks = network.includes(ASK);
  const hosts = network.filter((rule) => rule !== ASK).flatMap((rule) => networks()[rule] ?? [rule]);
  const shown = hosts.map((host) => line(host, 100)).join(", ");
  return `${words.choose.reaches(shown, asks)} ${words.choose.risk}`;
}

/** Rules as a person chose them, in a few words. */
export const namesOf = (network: string[]): string => network.map((rule) => (rule === ASK ? words.choose.asked(network.length > 1) : line(rule, 60))).join(", ");

/** Commands in a few words. */
export const commandsOf = (checks: string[]): string => checks.map((check) => line(check, SHOWN)).join(", ");

/** What was chosen, where it is not in sight. */
export function Chosen({ chosen, checks }: { chosen: Extras; checks: boolean }) {
  const [network, commands] = [networkOf(chosen), checksOf(chosen)];
  return (
    <>
      {network.length > 0 && (
        <p class="hint risk">
          {words.choose.network(namesOf(network))} {words.choose.risk}
        </p>
      )}
      {checks && commands.length > 0 && <p class="hint">{words.choose.checked(commandsOf(commands))}</p>}
    </>
  );
}

/** What the last result of this folder was checked with. */
function lastChecks(folder: string): string[] {
  if (folder === "") return [];
  for (const { project, jobs } of conversations.value) {
    const last = project === folder ? jobs.findLast((job) => job.toCheck.length > 0) : undefined;
    if (last !== undefined) return last.toCheck;
  }
  return [];
}

interface MoreProps {
  id: string;
  /** The folder that is chosen. */
  folder: string;
  /** Whether a check can say anything about what is done. */
  checks: boolean;
}

export function More({ id, folder, checks }: MoreProps) {
  const names = [`${useId()}-network`, `${useId()}-checks`, `${useId()}-times`] as const;
  const chosen = extras.value;
  const network = networkOf(chosen);
  const change = (part: Partial<Extras>): void => {
    extras.value = { ...chosen, ...part };
  };
  const none = chosen.lists.length === 0 && chosen.hosts === undefined && !chosen.asks;
  const last = chosen.checks === "" ? lastChecks(folder) : [];
  return (
    <section class="more" id={id} aria-label={words.choose.title}>
      <div role="group" aria-labelledby={names[0]}>
        <h2 id={names[0]}>{words.choose.reach}</h2>
        <div class="options">
          <Option on={none} onClick={() => change({ lists: [], hosts: undefined, asks: false })}>
            {words.choose.nothing}
          </Option>
          {Object.keys(networks()).map((list) => (
            <Option key={list} on={chosen.lists.includes(list)} onClick={() => change({ lists: toggled(chosen.lists, list) })}>
              {words.choose.lists[list] ?? line(list, 40)}
            </Option>
          ))}
          <Option on={chosen.hosts !== undefined} onClick={() => change({ hosts: chosen.hosts === undefined ? "" : undefined })}>
            {words.choose.hosts}
          </Option>
          <Option on={chosen.asks} onClick={() => change({ asks: !chosen.asks })}>
            {words.choose.ask}
          </Option>
        </div>
        {chosen.hosts !== undefined && (
          <input
            aria-label={words.choose.hostNames}
            placeholder={words.choose.hostsSuch}
            value={chosen.hosts}
            spellcheck={false}
            autocapitalize="off"
            autocomplete="off"
            ref={focused}
            onInput={(event) => change({ hosts: event.currentTarget.value })}
            onKeyDown={(event) => event.key === "Enter" && event.preventDefault()}
          />
        )}
        <p class={network.length > 0 ? "hint risk" : "hint"}>{network.length > 0 ? reaches(network) : words.choose.none}</p>
      </div>
      {checks && (
        <div>
          <h2 id={names[1]}>{words.choose.checks}</h2>
          <textarea
            class="code"
            rows={Math.min(MAX_CHECKS, Math.max(2, chosen.checks.split("\n").length))}
            aria-labelledby={names[1]}
            placeholder={words.choose.checksSuch}
            value={chosen.checks}
            spellcheck={false}
            autocapitalize="off"
            autocomplete="off"
            onInput={(event) => change({ checks: event.currentTarget.value })}
          />
          <p class="hint">
            {words.choose.checksHow}{" "}
            {last.length > 0 && (
              <button type="button" class="link" onClick={() => change({ checks: last.join("\n") })}>
                {words.choose.asLast(line(last.join("; "), SHOWN))}
              </button>
            )}
          </p>
        </div>
      )}
      <div>
        <h2 id={names[2]}>{words.choose.times}</h2>
        <label class="pill">
          <select aria-labelledby={names[2]} value={String(chosen.times)} onChange={(event) => change({ times: Number(event.currentTarget.value) })}>
            {Array.from({ length: MAX_TIMES }, (_, at) => at + 1).map((times) => (
              <option key={times} value={String(times)}>
                {words.choose.often(times)}
              </option>
            ))}
          </select>
        </label>
        <p class="hint">{words.choose.timesHow}</p>
      </div>
    </section>
  );
}

const toggled = (all: string[], one: string): string[] => (all.includes(one) ? all.filter((other) => other !== one) : [...all, one]);

/** What is typed next goes there. */
const focused = (input: HTMLInputElement | null): void => {
  if (input !== null && input.value === "") input.focus();
};

function Option({ on, onClick, children }: { on: boolean; onClick: () => void; children: string }) {
  return (
    <button type="button" class="option" aria-pressed={on} onClick={onClick}>
      {children}
    </button>
  );
}

/** The button that shows it. */
export function MoreButton({ controls }: { controls: string }) {
  const shows = showsMore.value;
  return (
    <Button icon="more" kind="quiet" expanded={shows} controls={shows ? controls : undefined} onClick={() => (showsMore.value = !shows)}>
      {words.choose.open}
    </Button>
  );
}
