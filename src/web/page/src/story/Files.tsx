// The files of a copy as they were at a checkpoint, or are now: folders that open, and a file as plain text.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

import { bytes, words } from "../words/story";
import { Icon, Lines, Path } from "./parts";
import { line } from "./text";

/** What the workspace task `files` answers (nips/workspace.md). */
export interface FilesAnswer {
  entries: { path: string; kind: string; size: number; to?: string }[];
  /** How many there are in all. */
  total?: number;
  /** How many to pass over for those that there was no room for, if any. */
  next?: number | null;
}

/** What the workspace task `file` answers. */
export interface FileAnswer {
  text?: string;
  base64?: string;
  size: number;
  /** Where the next part begins, when there is one. */
  next?: number | null;
  /** Secrets were cut out of the text. */
  redacted?: boolean;
  /** Why there is nothing of it. */
  withheld?: string;
}

export interface FilesSource {
  list(at: number | undefined, folder: string, offset: number): Promise<FilesAnswer>;
  read(at: number | undefined, path: string, offset: number): Promise<FileAnswer>;
}

export interface FilesProps {
  source: FilesSource;
  /** Checkpoints that can be chosen, oldest first. */
  points: { number: number; reason: string }[];
  at?: number | undefined;
  path?: string | undefined;
}

type Loaded<T> = { value: T } | { why: string } | undefined;

/** Loads anew whenever what it depends on changes; what is no longer wanted is dropped. */
function useLoaded<T>(load: () => Promise<T>, on: unknown[]): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>(undefined);
  useEffect(() => {
    let wanted = true;
    setLoaded(undefined);
    load().then(
      (value) => wanted && setLoaded({ value }),
      (error: unknown) => wanted && setLoaded({ why: error instanceof Error ? error.message : "" }),
    );
    return () => {
      wanted = false;
    };
  }, on);
  return loaded;
}

export function Files(props: FilesProps): JSX.Element {
  const [at, setAt] = useState(props.at);
  const [path, setPath] = useState(props.path ?? "");
  useEffect(() => {
    setAt(props.at);
    setPath(props.path ?? "");
  }, [props.at, props.path]);
  return (
    <section class="f-files" aria-label={words.fileTree}>
      <header class="f-head">
        <strong>{words.fileTree}</strong>
        <select
          aria-label={words.aPoint}
          value={at === undefined ? "" : String(at)}
          onChange={(event) => setAt(event.currentTarget.value === "" ? undefined : Number(event.currentTarget.value))}
        >
          <option value="">{words.now}</option>
          {[...props.points].reverse().map((point) => (
            <option value={String(point.number)}>
              {words.point(point.number)} · {words.reasons[point.reason] ?? line(point.reason, 60)}
            </option>
          ))}
        </select>
      </header>
      <nav class="f-tree" aria-label={words.fileTree}>
        <Folder source={props.source} at={at} folder="" open={path} onOpen={setPath} />
      </nav>
      <div class="f-view">
        {path === "" ? <p>{words.chooseFile}</p> : <View key={`${at ?? ""}:${path}`} source={props.source} at={at} path={path} />}
      </div>
    </section>
  );
}

interface FolderProps {
  source: FilesSource;
  at: number | undefined;
  folder: string;
  /** The file that is shown; its folders are open. */
  open: string;
  onOpen: (path: string) => void;
}

/** Folders before files, each by its name. */
function sorted(entries: FilesAnswer["entries"]): FilesAnswer["entries"] {
  const rank = (kind: string): number => (kind === "folder" ? 0 : 1);
  return [...entries].sort((a, b) => rank(a.kind) - rank(b.kind) || a.path.localeCompare(b.path));
}

function Folder(props: FolderProps): JSX.Element {
  const { source, at, folder } = props;
  const loaded = useLoaded(() => source.list(at, folder, 0), [source, at, folder]);
  const [rest, setRest] = useState<FilesAnswer[]>([]);
  const [busy, setBusy] = useState(false);
  useEffect(() => setRest([]), [loaded]);
  if (loaded === undefined) return <p class="s-quiet">{words.loading}</p>;
  if ("why" in loaded) return <p class="u-bad">{loaded.why || words.fileFailed}</p>;
  const parts = [loaded.value, ...rest];
  const entries = sorted(parts.flatMap((part) => part.entries));
  const next = parts[parts.length - 1]?.next ?? undefined;
  if (entries.length === 0) return <p class="s-quiet">{words.folderEmpty}</p>;
  return (
    <ul>
      {entries.map((entry) => (
        <li key={entry.path}>
          <Entry {...props} entry={entry} />
        </li>
      ))}
      {next !== undefined && (
        <li>
          <button
            type="button"
            class="s-link"
            disabled={busy}
            onClick={() => {
              setBusy(true);
              void source
                .list(at, folder, next)
                .then((answer) => setRest([...rest, answer]), () => {})
                .finally(() => setBusy(false));
            }}
          >
            {busy ? words.loading : words.folderCut((loaded.value.total ?? 0) - entries.length)}
          </button>
        </li>
      )}
    </ul>
  );
}

function Entry(props: FolderProps & { entry: FilesAnswer["entries"][number] }): JSX.Element {
  const { entry, open, onOpen } = props;
  const name = entry.path.slice(props.folder === "" ? 0 : props.folder.length + 1);
  const isFolder = entry.kind === "folder";
  const [isOpen, setOpen] = useState(isFolder && open.startsWith(`${entry.path}/`));
  if (!isFolder) {
    return (
      <button type="button" class="f-entry" aria-current={open === entry.path} onClick={() => onOpen(entry.path)}>
        <Icon name={entry.kind === "link" ? "open" : "file"} />
        <bdi title={line(name)}>{line(name, 200)}</bdi>
        <span class="f-size">{entry.kind === "link" ? `→ ${line(entry.to ?? "", 40)}` : bytes(entry.size)}</span>
      </button>
    );
  }
  return (
    <>
      <button type="button" class="f-entry" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name="folder" />
        <bdi title={line(name)}>{line(name, 200)}</bdi>
      </button>
      {isOpen && <Folder {...props} folder={entry.path} />}
    </>
  );
}

function View({ source, at, path }: { source: FilesSource; at: number | undefined; path: string }): JSX.Element {
  const [text, setText] = useState("");
  const [part, setPart] = useState<FileAnswer | undefined>(undefined);
  const [why, setWhy] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const load = (offset: number): void => {
    setBusy(true);
    source
      .read(at, path, offset)
      .then(
        (answer) => {
          setPart(answer);
          setText((before) => (offset === 0 ? "" : before) + (answer.text ?? ""));
        },
        (error: unknown) => setWhy(error instanceof Error ? error.message : ""),
      )
      .finally(() => setBusy(false));
  };
  useEffect(() => load(0), [source, at, path]);
  const lines = text.replace(/\n$/, "").split("\n");
  const next = part?.next ?? undefined;
  return (
    <>
      <div class="f-name">
        <Path path={path} />
        {part !== undefined && <span class="s-faint">{bytes(part.size)}</span>}
      </div>
      {why !== undefined && <p class="u-bad">{why || words.fileFailed}</p>}
      {part === undefined && why === undefined && <p role="status">{words.loading}</p>}
      {part?.withheld !== undefined && <p>{line(part.withheld, 300)}</p>}
      {part !== undefined && part.text === undefined && part.withheld === undefined && <p>{words.fileBinary(part.size)}</p>}
      {part?.redacted === true && <p>{words.fileRedacted}</p>}
      {part?.text !== undefined && part.size === 0 && <p>{words.emptyFile}</p>}
      {part?.text !== undefined && part.size > 0 && (
        <pre class="f-text" tabIndex={0} role="region" aria-label={line(path, 200)}>
          <Lines lines={lines} numbers={1} />
        </pre>
      )}
      {next !== undefined && (
        <p>
          <button type="button" class="s-button" disabled={busy} onClick={() => load(next)}>
            {busy ? words.loading : words.fileMore(Math.max(0, (part?.size ?? 0) - next))}
          </button>
        </p>
      )}
    </>
  );
}
