// Who does it, and with which model.

import { computed } from "@preact/signals";
import { useId } from "preact/hooks";

import { kind } from "../nostr/records";
import { line } from "../story/text";
import { words } from "../words/app";
import { preference } from "./keep";
import { type Agent, status } from "./state";

/** An agent and a model, by name; an empty model is the usual one. */
export interface Choice {
  agent: string;
  model: string;
}

export const lastAgent = preference("agent");
export const lastModel = preference("model");

/** How soon an agent can begin: at once, once its image is there, or not as things are. */
const distance = (agent: Agent): number => (agent.missing !== undefined ? 2 : agent.ready === true ? 0 : 1);

/** Those who can begin at once first, then by name. */
export const agents = computed<Agent[]>(() =>
  [...(status.value?.agents ?? [])].sort((a, b) => distance(a) - distance(b) || titleOf(a).localeCompare(titleOf(b)) || (a.name < b.name ? -1 : 1)),
);

export function agentNamed(name: string): Agent | undefined {
  return agents.value.find((agent) => agent.name === name);
}

export const titleOf = (agent: Agent): string => line(agent.title || agent.name, 40);

/** The title of an agent, or its name when it is gone. */
export function agentTitle(name: string | undefined): string {
  if (name === undefined) {
    const usual = agents.value.find((agent) => agent.kinds.includes(kind.chatJob));
    return usual === undefined ? "" : titleOf(usual);
  }
  const agent = agentNamed(name);
  return agent === undefined ? line(name, 40) : titleOf(agent);
}

/** Who does it unless somebody else is chosen: the one for conversations. Who was chosen once is no habit. */
export function usual(): Agent | undefined {
  return agents.value.find((agent) => agent.kinds.includes(kind.chatJob)) ?? agents.value[0];
}

/** Who works on files, best first. */
export function worker(): Agent | undefined {
  const workers = agents.value.filter((agent) => agent.workspace === true && agent.command !== true);
  return (
    workers.find((agent) => agent.name === lastAgent.value && agent.missing === undefined) ??
    workers.find((agent) => agent.missing === undefined) ??
    workers[0]
  );
}

const OTHER = "\u0000other";

/** Whether what is written goes to another computer. */
export function isElsewhere(model: string): boolean {
  const known = status.value;
  const name = model === "" ? (known?.default_model ?? "") : model;
  if (known?.cloud?.includes(name) === true) return true;
  const provider = known?.providers?.find((provider) => name.startsWith(`${provider.name}:`));
  return provider !== undefined && !provider.local;
}

/** Whose pictures a choice could not look at: a model that is known to take none, where nothing but it looks. */
export function blindTo(agent: Agent | undefined, model: string | undefined): string | undefined {
  if (agent === undefined || agent.workspace === true || agent.command === true) return undefined;
  const name = model ?? status.value?.default_model ?? "";
  return status.value?.blind?.includes(name) === true ? name : undefined;
}

/** Why pictures cannot be looked at, and what to do. */
export function blindWords(model: string): string {
  const known = status.value;
  const seeing = (known?.models ?? []).filter((name) => known?.blind?.includes(name) !== true && known?.cloud?.includes(name) !== true);
  return words.start.blind(line(model, 60), seeing.slice(0, 3).map((name) => line(name, 60)));
}

export function ChoiceFields({ choice, onChange }: { choice: Choice; onChange: (choice: Choice) => void }) {
  const id = useId();
  const known = status.value;
  const agent = agentNamed(choice.agent);
  const models = known?.models ?? [];
  const custom = choice.model === OTHER || (choice.model !== "" && !models.includes(choice.model));
  return (
    <>
      <label class="pill">
        <select aria-label={words.start.agent} value={choice.agent} onChange={(event) => onChange({ ...choice, agent: event.currentTarget.value })}>
          {agents.value.map((agent) => (
            <option key={agent.name} value={agent.name}>
              {titleOf(agent)}
            </option>
          ))}
        </select>
      </label>
      {agent?.command === true ? (
        <span class="muted">{words.start.noModelNeeded}</span>
      ) : (
        <>
          <span class="muted">{words.start.with}</span>
          <label class="pill">
            <select aria-label={words.start.model} value={custom ? OTHER : choice.model} onChange={(event) => onChange({ ...choice, model: event.currentTarget.value })}>
              <option value="">{known?.default_model ? line(known.default_model, 60) : words.start.modelNone}</option>
              {models
                .filter((model) => model !== known?.default_model)
                .map((model) => (
                  <option key={model} value={model}>
                    {line(model, 60)}
                  </option>
                ))}
              <option value={OTHER}>{words.start.modelOther}</option>
            </select>
          </label>
          {custom && (
            <input
              id={id}
              class="pill-text"
              aria-label={words.start.modelName}
              placeholder={words.start.modelNameHint}
              value={choice.model === OTHER ? "" : choice.model}
              onChange={(event) => onChange({ ...choice, model: event.currentTarget.value.trim() || OTHER })}
            />
          )}
        </>
      )}
    </>
  );
}

/** The model as the job names it. */
export const modelParam = (choice: Choice): string | undefined =>
  choice.model === "" || choice.model === OTHER ? undefined : choice.model;
