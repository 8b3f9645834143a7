// Choosing a folder: those that were worked on before come first.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { type Folders, folders } from "../nostr/api";
import { line, pathParts } from "../story/text";
import { words } from "../words/app";
import { Icon } from "./icons";
import { Busy, Button, Dialog, Problem, sentence } from "./ui";

export function FolderPicker({ onChoose, onClose }: { onChoose: (path: string) => void; onClose: () => void }) {
  const at = useSignal<Folders | undefined>(undefined);
  const typed = useSignal("");
  const filter = useSignal("");
  const problem = useSignal("");
  const look = (path?: string): void => {
    problem.value = "";
    folders(path).then(
      (found) => {
        at.value = found;
        typed.value = found.path;
        filter.value = "";
      },
      (error: unknown) => (problem.value = sentence(error)),
    );
  };
  useEffect(() => look(), []);
  const found = at.value;
  const there = found !== undefined;
  // What one came for gets the focus, and not what closes it.
  useEffect(() => {
    if (there) document.querySelector<HTMLElement>("dialog [data-first] button")?.focus();
  }, [there]);
  const wanted = filter.value.toLowerCase();
  const shown = found?.folders.filter(({ name }) => (wanted === "" ? !name.startsWith(".") : name.toLowerCase().includes(wanted))) ?? [];
  const inside = (name: string): string => `${found?.path === "/" ? "" : (found?.path ?? "")}/${name}`;
  return (
    <Dialog
      title={words.folders.title}
      onClose={onClose}
      foot={
        <>
          <Button onClick={onClose}>{words.cancel}</Button>
          <Button kind="primary" disabled={found === undefined} onClick={() => onChoose(found?.path ?? "")}>
            {words.folders.here(line(pathParts(found?.path ?? "")[1], 40))}
          </Button>
        </>
      }
    >
      {problem.value !== "" && <Problem text={problem.value} />}
      {found === undefined && problem.value === "" && <Busy text={words.loading} />}
      {found !== undefined && (
        <div class="picker">
          {found.projects.length > 0 && (
            <>
              <h3>{words.folders.known}</h3>
              <ul class="rows" data-first>
                {found.projects.slice(0, 6).map((path) => (
                  <li key={path}>
                    <button type="button" onClick={() => onChoose(path)}>
                      <Icon name="leaf" />
                      <span class="name">{pathParts(path)[1]}</span>
                      <small>{pathParts(path)[0]}</small>
                    </button>
                  </li>
                ))}
              </ul>
            </>
          )}
          <h3>{words.folders.list}</h3>
          <form
            class="path"
            onSubmit={(event) => {
              event.preventDefault();
              look(typed.value);
            }}
          >
            <Button icon="back" kind="quiet" label={words.folders.up} disabled={found.parent === null} onClick={() => look(found.parent ?? "/")} />
            <input aria-label={words.folders.path} value={typed.value} spellcheck={false} onInput={(event) => (typed.value = event.currentTarget.value)} />
          </form>
          {found.folders.length > 12 && (
            <input
              type="search"
              aria-label={words.folders.filter}
              placeholder={words.folders.filter}
              value={filter.value}
              onInput={(event) => (filter.value = event.currentTarget.value)}
            />
          )}
          {shown.length === 0 && <p class="muted">{words.folders.empty}</p>}
          <ul class="rows scroll" data-first>
            {shown.map(({ name }) => (
              <li key={name}>
                <button type="button" onClick={() => look(inside(name))}>
                  <Icon name="folder" />
                  <span class="name">{line(name, 120)}</span>
                </button>
              </li>
            ))}
          </ul>
        </div>
      )}
    </Dialog>
  );
}
