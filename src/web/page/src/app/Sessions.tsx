// All conversations, by project.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { MAX_COMPARED } from "../nostr/comparison";
import { line, pathParts } from "../story/text";
import { words } from "../words/app";
import { agentTitle } from "./choice";
import { type Conversation, isOpen } from "./conversations";
import { Icon } from "./icons";
import { onKeys, step } from "./keys";
import { stands } from "./Progress";
import { purging } from "./Purge";
import { go, hrefs } from "./route";
import { conversations, now, store } from "./state";
import { Busy, Button, Chip } from "./ui";

/** How many are drawn at a time. */
const SHOWN = 100;

type State = "all" | "open" | "done";

/** How long nothing is typed before the relay is asked, in milliseconds. */
const PAUSE = 250;

/** The first line of what was asked. */
export function titleOf(conversation: Conversation): string {
  const first = conversation.title.split("\n").find((text) => text.trim() !== "");
  if (first === undefined) return conversation.hidden ? words.session.private : words.session.untitled;
  return line(first.replace(/^\s*#+\s*/, ""), 160);
}

export function Sessions() {
  const known = store.value;
  const search = useSignal("");
  const state = useSignal<State>("all");
  const chosen = useSignal<string[]>([]);
  const shown = useSignal(SHOWN);
  useEffect(
    () =>
      onKeys((event) => {
        if (event.key === "j") return step(".session-row a", 1);
        if (event.key === "k") return step(".session-row a", -1);
        return false;
      }),
    [],
  );
  // What the relay finds, also in what was answered and in what is not on the list.
  const found = useSignal<ReadonlySet<string>>(new Set());
  useEffect(() => {
    found.value = new Set();
    const words = search.value.trim();
    if (known === undefined || words === "") return;
    let isCurrent = true;
    const take = (jobs: ReadonlySet<string>): void => {
      if (isCurrent) found.value = jobs;
    };
    // A relay whose owner turned the search off leaves what is on the list.
    const timer = setTimeout(() => void known.search(words).then(take, () => {}), PAUSE);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [search.value, known]);
  if (known === undefined) return null;
  const wanted = search.value.trim().toLowerCase();
  const matches = (conversation: Conversation): boolean => {
    if (state.value === "open" && !isOpen(conversation.state)) return false;
    if (state.value === "done" && isOpen(conversation.state)) return false;
    if (wanted === "") return true;
    const text = `${conversation.title} ${conversation.project ?? ""} ${agentTitle(conversation.agent)} ${conversation.model ?? ""}`;
    return text.toLowerCase().includes(wanted) || conversation.jobs.some((job) => found.value.has(job.id));
  };
  const listed = conversations.value.filter(matches);
  const groups = new Map<string, Conversation[]>();
  for (const conversation of listed.slice(0, shown.value)) {
    const name = conversation.project ?? "";
    groups.set(name, [...(groups.get(name) ?? []), conversation]);
  }
  const picked = conversations.value.filter((conversation) => chosen.value.includes(conversation.id));
  const toggle = (id: string): void => {
    const now = chosen.value;
    chosen.value = now.includes(id) ? now.filter((other) => other !== id) : [...now, id];
  };
  return (
    <div class="page sessions">
      <header class="page-head">
        <h1>{words.sessions.title}</h1>
        <div class="filters">
          <label class="search">
            <Icon name="search" />
            <span class="hidden">{words.sessions.search}</span>
            <input
              type="search"
              data-search
              placeholder={words.sessions.placeholder}
              value={search.value}
              onInput={(event) => (search.value = event.currentTarget.value)}
            />
          </label>
          <div class="segments" role="group" aria-label={words.sessions.state}>
            {(["all", "open", "done"] as const).map((name) => (
              <button key={name} type="button" aria-pressed={state.value === name} onClick={() => (state.value = name)}>
                {words.sessions.states[name]}
              </button>
            ))}
          </div>
        </div>
      </header>
      {!known.loaded.value && <Busy text={words.loading} />}
      {known.loaded.value && conversations.value.length === 0 && (
        <div class="empty">
          <p>{words.sessions.none}</p>
          <p class="muted">{words.sessions.noneHow}</p>
          <a class="button primary" href={hrefs.start}>
            {words.nav.start}
          </a>
        </div>
      )}
      {conversations.value.length > 0 && listed.length === 0 && <p class="muted">{words.sessions.notFound}</p>}
      {[...groups.entries()].map(([project, rows]) => (
        <section key={project} class="group">
          <h2 title={line(project, 400)}>
            <Icon name={project === "" ? "leaf" : "folder"} />
            {project === "" ? words.sessions.noProject : pathParts(project)[1]}
            {project !== "" && <small>{pathParts(project)[0]}</small>}
          </h2>
          <ul>
            {rows.map((conversation) => (
              <li key={conversation.id} class="session-row">
                <input
                  type="checkbox"
                  aria-label={words.sessions.select(titleOf(conversation))}
                  checked={chosen.value.includes(conversation.id)}
                  onChange={() => toggle(conversation.id)}
                />
                <a href={hrefs.session(conversation.id)}>
                  <span class="title">
                    {conversation.hidden && <Icon name="lock" size={16} />}
                    {titleOf(conversation)}
                  </span>
                  <span class="about">
                    <span>{agentTitle(conversation.agent)}</span>
                    {conversation.jobs.length > 1 && <span>{words.sessions.turns(conversation.jobs.length)}</span>}
                    <span>{words.ago(now.value - conversation.at)}</span>
                  </span>
                </a>
                <Chip of={stands(conversation, conversation.jobs.at(-1))} />
              </li>
            ))}
          </ul>
        </section>
      ))}
      {listed.length > shown.value && (
        <Button onClick={() => (shown.value += SHOWN)}>{words.more}</Button>
      )}
      {known.more.value && listed.length <= shown.value && <Button onClick={() => void known.loadMore()}>{words.sessions.more}</Button>}
      {picked.length > 0 && (
        <div class="tray" role="status">
          <span>{words.sessions.chosen(picked.length)}</span>
          {picked.length >= 2 && picked.length <= MAX_COMPARED && (
            <Button kind="primary" icon="compare" onClick={() => go(hrefs.compare(picked.map((one) => one.id)))}>
              {words.compare.title}
            </Button>
          )}
          <Button icon="trash" onClick={() => (purging.value = picked)}>
            {words.purge.open}
          </Button>
          <Button kind="quiet" onClick={() => (chosen.value = [])}>
            {words.sessions.clear}
          </Button>
        </div>
      )}
    </div>
  );
}
