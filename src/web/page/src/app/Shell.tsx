// What is around every view: the way around, the connection, the keyboard's list.

import { effect, signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { line, pathParts } from "../story/text";
import { words } from "../words/app";
import { Mark } from "./art";
import { Compare } from "./Compare";
import { Enter } from "./Enter";
import { Icon, type IconName } from "./icons";
import { preference } from "./keep";
import { help, onKeys } from "./keys";
import { stands } from "./Progress";
import { PurgeDialog, purging } from "./Purge";
import { isHere, recent } from "./recent";
import { hrefs, route } from "./route";
import { Session } from "./Session";
import { Sessions, titleOf } from "./Sessions";
import { Start } from "./Start";
import { announcement, conversations, door, me, store } from "./state";
import { Touch } from "./Touch";
import { Busy, Button, Command, Dialog, standing, standingWords } from "./ui";

/** How many conversations the side shows. */
const RECENT = 12;
/** How long a connection may be away before anybody is told: a restart takes less. */
const PATIENCE = 1200;

const theme = preference("theme");
effect(() => {
  if (theme.value === "") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
});

const menu = signal(false);

/** Whether all of this is thrown away when it ends. */
const isDemo = (): boolean => me.value?.ask === words.enter.demo;

export function Shell() {
  const at = route.value;
  useEffect(() => {
    menu.value = false;
    const main = document.getElementById("main");
    main?.scrollTo(0, 0);
    // Whose focus went with the view before is at the beginning of this one.
    if (document.activeElement === document.body) main?.focus({ preventScroll: true });
  }, [at]);
  useEffect(
    () =>
      onKeys((event) => {
        if (event.key !== "Escape" || !menu.value) return false;
        menu.value = false;
        return true;
      }),
    [],
  );
  if (door.value !== "open" && door.value !== "entering") return <Enter />;
  // Where something begins is of use before anything is known.
  const view = door.value === "open" || at.view === "start" ? at.view : undefined;
  return (
    <div class={`shell ${menu.value ? "menu-open" : ""}`}>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        {words.skip}
      </a>
      <header class="top">
        <Button icon="menu" kind="quiet" label={words.menu} expanded={menu.value} onClick={() => (menu.value = !menu.value)} />
        <a class="mark" href={hrefs.start}>
          <Mark size={24} />
          {words.name}
        </a>
        <a class="button quiet only" href={hrefs.start} aria-label={words.nav.start}>
          <Icon name="add" />
        </a>
      </header>
      <Nav />
      {menu.value && <div class="veil" onClick={() => (menu.value = false)} />}
      <main id="main" tabIndex={-1}>
        <Connection />
        {isDemo() && at.view === "start" && <p class="demo note">{words.start.demo}</p>}
        {view === undefined && <Busy text={words.enter.trying} />}
        {view === "start" && <Start />}
        {view === "session" && at.view === view && <Session key={at.id} id={at.id} step={at.step} />}
        {view === "sessions" && <Sessions />}
        {view === "compare" && at.view === view && <Compare key={at.comparison} ids={at.ids} comparison={at.comparison} />}
        {view === "touch" && <Touch />}
      </main>
      <p class="hidden" role="status" aria-live="polite">
        {announcement.value}
      </p>
      {help.value && <Keys />}
      {purging.value.length > 0 && <PurgeDialog key={purging.value[0]?.id} />}
    </div>
  );
}

function Link({ href, icon, text, here }: { href: string; icon: IconName; text: string; here: boolean }) {
  return (
    <a href={href} aria-current={here ? "page" : undefined}>
      <Icon name={icon} />
      {text}
    </a>
  );
}

function Nav() {
  const at = route.value;
  const shown = recent(conversations.value, RECENT);
  const next = theme.value === "" ? "light" : theme.value === "light" ? "dark" : "";
  return (
    <nav class="nav" aria-label={words.nav.label}>
      <a class="mark" href={hrefs.start}>
        <Mark size={28} />
        {words.name}
      </a>
      <a class="button primary new" href={hrefs.start} aria-current={at.view === "start" ? "page" : undefined}>
        <Icon name="add" />
        <span>{words.nav.start}</span>
      </a>
      <div class="recent">
        <h2>{words.nav.recent}</h2>
        {shown.length === 0 && <p class="muted">{words.nav.none}</p>}
        <ul>
          {shown.map((one) => {
            const how = stands(one.conversation, one.conversation.jobs.at(-1));
            return (
              <li key={one.href}>
              <a href={one.href} aria-current={isHere(one, at) ? "page" : undefined}>
                <i class={standing(how, "dot")} aria-hidden="true" />
                <span class="hidden">{standingWords(how)}: </span>
                <span class="title">{titleOf(one.conversation)}</span>
                {one.all.length > 1 ? (
                  <small title={words.compare.title}>
                    <span aria-hidden="true">× </span>
                    {one.all.length}
                    <span class="hidden"> {words.compare.title}</span>
                  </small>
                ) : (
                  one.conversation.project !== undefined && <small>{line(pathParts(one.conversation.project)[1], 24)}</small>
                )}
              </a>
            </li>
            );
          })}
        </ul>
      </div>
      <div class="links">
        <Link href={hrefs.sessions} icon="list" text={words.nav.sessions} here={at.view === "sessions"} />
        <Link href={hrefs.touch} icon="shield" text={words.nav.touch} here={at.view === "touch"} />
        <div class="row">
          <Button icon={theme.value === "dark" ? "moon" : "sun"} kind="quiet" label={words.nav.theme[theme.value || "auto"] ?? ""} onClick={() => (theme.value = next)} />
          <Button icon="keys" kind="quiet" label={words.nav.keys} onClick={() => (help.value = true)} />
        </div>
      </div>
    </nav>
  );
}

/** Says when the connection is gone, and when it is back. */
function Connection() {
  const relay = store.value?.relay;
  const late = useSignal(false);
  const back = useSignal(false);
  const state = relay?.state.value;
  useEffect(() => {
    if (state !== "lost" && state !== "connecting") {
      if (late.value) {
        back.value = true;
        setTimeout(() => (back.value = false), 3000);
      }
      late.value = false;
      return;
    }
    const timer = setTimeout(() => (late.value = true), PATIENCE);
    return () => clearTimeout(timer);
  }, [state]);
  if (relay === undefined) return null;
  const unsent = relay.unsent.value;
  return (
    <div class="connection" role="status" aria-live="polite">
      {back.value && <p class="good">{words.lost.back}</p>}
      {late.value && (
        <div class="note warn">
          <p>
            <strong>{words.lost.title}</strong> {words.lost.again} {unsent > 0 && words.lost.kept(unsent)}
          </p>
          <p>{isDemo() ? words.lost.demoEnded : words.lost.how}</p>
          <div class="row">
            <Command text={isDemo() ? words.enter.demo : words.lost.command} />
            <Button onClick={() => relay.hurry()}>{words.lost.now}</Button>
          </div>
        </div>
      )}
    </div>
  );
}

function Keys() {
  return (
    <Dialog title={words.keys.title} onClose={() => (help.value = false)}>
      <dl class="keys">
        {words.keys.rows.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(/ +/).map((key) => (key === "…" ? key : <kbd key={key}>{key}</kbd>))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
