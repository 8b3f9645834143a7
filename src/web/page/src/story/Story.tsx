// A session as a story that can be read, searched and taken back: the toolbar, the line, its rows.

import type { Signal } from "@preact/signals";
import { Component, type JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

import { kind, type NEvent } from "../nostr/records";
import { clock, moment, words } from "../words/story";
import { Context, Memory, type Shared, type StoryActions } from "./context";
import { ALL, type Filter, isOn, search, shown } from "./filter";
import { NEAR, useList } from "./list";
import { type Item, Sort, Story as Model } from "./model";
import { Icon, Prose } from "./parts";
import { Body, Gap, markOf } from "./rows";
import { Toolbar } from "./Toolbar";

export interface StoryProps {
  /** In the order of the story: records, and the requests that they answer. Events come at both ends. */
  events: Signal<NEvent[]>;
  /** Loads what was before the first; false when there is nothing. Missing when all is there. */
  more?: (() => Promise<boolean>) | undefined;
  /** Text that is being written. */
  live?: Signal<string> | undefined;
  actions?: StoryActions | undefined;
  /** What encrypted events say, by id. */
  plain?: Signal<Map<string, string | null>> | undefined;
  /** The beginning of the id of a step to begin at. */
  step?: string | undefined;
  linkTo?: ((id: string) => string) | undefined;
  /** The page itself scrolls, and not the story. */
  window?: boolean | undefined;
  /** This is a file that somebody was given. */
  shared?: boolean | undefined;
  /** Ids of events that are not what was signed. */
  suspect?: Signal<ReadonlySet<string>> | undefined;
}

/** Rows that are no items. */
const EARLIER = -1;
const LIVE = -2;
/** Rows before the first in sight at which earlier ones are loaded. */
const AHEAD = 12;
/** How often a screen reader hears of new steps. */
const SAY = 5_000;
/** Items up to which a session that has ended is read from its beginning. */
const READABLE = 2_000;

export function Story(props: StoryProps): JSX.Element {
  const events = props.events.value;
  const plain = props.plain?.value;
  const live = props.live?.value ?? "";
  const suspect = props.suspect?.value;
  const model = useMemo(() => new Model(), []);
  const memory = useMemo(() => new Memory(), []);
  const [filter, setFilter] = useState<Filter>(ALL);
  const [current, setCurrent] = useState<number | undefined>(undefined);
  const [allLoaded, setAllLoaded] = useState(props.more === undefined);
  const [loading, setLoading] = useState(false);
  const find = useSearch(model, plain, events);

  // What came since is taken in while drawing, so that the list knows of it in the same breath.
  const version = useVersion(model, events);
  const on = isOn(filter);
  const rows = useMemo(() => (on ? shown(model, filter) : undefined), [model, version, filter, on]);
  const items = rows === undefined ? model.items.length : rows.length;
  const head = allLoaded ? 0 : 1;
  const tail = live === "" ? 0 : 1;
  const total = head + items + tail;
  const itemOf = (index: number): Item | undefined => {
    const at = index - head;
    if (at < 0 || at >= items) return undefined;
    return model.items[rows === undefined ? at : (rows[at] ?? -1)];
  };
  // Asked for every row whenever one above them turns out taller than thought, so they lie side by side.
  const [keyOf, estimate] = useMemo(() => {
    const [keys, heights] = [new Int32Array(total), new Uint16Array(total)];
    for (let index = 0; index < total; index += 1) {
      const item = model.items[rows === undefined ? index - head : (rows[index - head] ?? -1)];
      keys[index] = item?.key ?? (index < head ? EARLIER : LIVE);
      heights[index] = item?.height ?? 60;
    }
    return [(index: number) => keys[index] ?? LIVE, (index: number) => heights[index] ?? 60] as const;
  }, [model, version, rows, head, total]);

  const scroller = useRef<HTMLDivElement>(null);
  const sizer = useRef<HTMLDivElement>(null);
  const [margin, setMargin] = useState(0);
  const list = useList({
    count: total,
    keyOf,
    estimate,
    scroller: () => scroller.current,
    window: props.window === true,
    margin,
  });
  useLayoutEffect(() => {
    if (props.window === true && sizer.current !== null) {
      const top = Math.round(sizer.current.getBoundingClientRect().top + window.scrollY);
      if (top !== margin) setMargin(top);
    }
  });

  const indexOf = (item: number): number => {
    if (rows === undefined) return item + head;
    const at = rows.findIndex((row) => row >= item);
    return (at < 0 ? rows.length - 1 : at) + head;
  };
  const goTo = (index: number, align: "start" | "center" | "end" | "auto" = "center"): void => {
    const item = itemOf(index);
    if (item === undefined) return;
    setCurrent(item.key);
    list.scrollToIndex(index, { align });
  };

  const follows = useFollowing(scroller, () => list.scrollToEnd({ behavior: "auto" }), [model.end, live.length]);

  // Where to begin: at a step that was asked for, at the end of what goes on, else at the beginning.
  const begun = useRef(false);
  useLayoutEffect(() => {
    if (begun.current || model.items.length === 0) return;
    begun.current = true;
    // A file that was given to somebody is read from its title.
    if (props.step !== undefined || props.shared === true) return;
    const ended = model.last?.kind === kind.end;
    if (!ended || !allLoaded || model.items.length > READABLE) {
      list.scrollToEnd();
      follows.current = true;
    }
  });
  const load = async (): Promise<boolean> => {
    if (props.more === undefined || allLoaded || loading) return false;
    setLoading(true);
    try {
      const more = await props.more();
      if (!more) setAllLoaded(true);
      return more;
    } finally {
      setLoading(false);
    }
  };
  const virtual = list.getVirtualItems();
  const first = virtual[0]?.index ?? 0;
  useEffect(() => {
    if (!allLoaded && !loading && begun.current && first < AHEAD) void load();
  }, [first, allLoaded, loading, version]);

  // A step that is not there yet is looked for further back.
  const sought = useRef<string | undefined>(undefined);
  useEffect(() => {
    if (props.step === undefined || props.step === sought.current || model.size === 0) return;
    const at = model.find(props.step);
    if (at !== undefined) {
      sought.current = props.step;
      goTo(indexOf(model.itemAt(at)), "start");
    } else if (allLoaded) sought.current = props.step;
    else void load();
  }, [props.step, version, allLoaded, loading]);

  const atEnd = list.isAtEnd(NEAR);
  const below = useNewBelow(model.end, atEnd);
  const spoken = useSpoken(model.end);

  const step = (by: number): void => {
    const index = current === undefined ? -1 : indexOfKey(current);
    const from = index < 0 ? (by > 0 ? Math.max(first, head) - 1 : first) : index;
    goTo(Math.min(Math.max(from + by, head), total - tail - 1), "auto");
  };
  const indexOfKey = (key: number): number => {
    for (let index = head; index < total - tail; index += 1) if (keyOf(index) === key) return index;
    return -1;
  };
  const jump = (by: number): void => {
    if (find.text !== "") {
      const key = find.go(by, current);
      const index = key === undefined ? -1 : indexOfKey(key);
      if (index >= 0) goTo(index);
      return;
    }
    const from = current === undefined ? first - 1 : indexOfKey(current);
    for (let index = from + by; index >= head && index < total - tail; index += by) {
      const item = itemOf(index);
      if (item !== undefined && (item.sorts & Sort.problems) !== 0) return goTo(index);
    }
  };

  const box = useRef<HTMLElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const keys = useRef<(event: KeyboardEvent) => void>(() => {});
  keys.current = (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const inside = target === document.body || (target !== null && box.current?.contains(target) === true);
    if (!inside || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target?.matches("input, textarea, select, [contenteditable]") === true) return;
    const act = { j: () => step(1), k: () => step(-1), n: () => jump(1), p: () => jump(-1), "/": () => field.current?.focus() }[
      event.key
    ];
    if (act === undefined) return;
    event.preventDefault();
    act();
  };
  useEffect(() => {
    const listen = (event: KeyboardEvent): void => keys.current(event);
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, []);
  // The row one went to gets the focus once it is there.
  useEffect(() => {
    if (current === undefined) return;
    const row = sizer.current?.querySelector<HTMLElement>(`[data-key="${current}"]`);
    const focused = document.activeElement;
    if (row && focused !== row && !row.contains(focused) && !focused?.matches("input")) row.focus({ preventScroll: true });
  }, [current, first, total]);
  useMarks(sizer, find.text, virtual);

  const began = model.event(model.start)?.created_at ?? 0;
  const { actions, linkTo } = props;
  const shared = useMemo<Shared>(
    () => ({ story: model, actions: actions ?? {}, plain, began, shared: props.shared === true, linkTo, suspect, memory }),
    [model, actions, plain, began, props.shared, linkTo, suspect, memory],
  );
  const size = allLoaded ? total : -1;
  return (
    <Context.Provider value={shared}>
      <section class={`story ${props.window === true ? "in-page" : ""}`} aria-label={words.story} ref={box}>
        <Toolbar
          model={model}
          filter={filter}
          setFilter={setFilter}
          find={find}
          jump={jump}
          field={field}
          allLoaded={allLoaded}
          searchEarlier={async () => {
            while (await load());
          }}
        />
        <div class="s-scroll" ref={scroller}>
          {total === 0 && <p class="s-nothing">{on ? words.nothing : words.empty}</p>}
          <div class="s-list-size" role="list" ref={sizer} style={{ height: `${list.getTotalSize()}px` }}>
            <div style={{ transform: `translateY(${(virtual[0]?.start ?? 0) - margin}px)` }}>
              {virtual.map(({ index, key }) => {
                const item = itemOf(index);
                const place = { index, size, measure: list.measureElement };
                if (item === undefined) {
                  return (
                    <Place key={String(key)} {...place} name="other">
                      {index < head ? (
                        <Earlier loading={loading} load={() => void load()} />
                      ) : (
                        <Live text={live} />
                      )}
                    </Place>
                  );
                }
                return (
                  <Row
                    key={item.key}
                    {...place}
                    item={item}
                    to={item.to}
                    shared={shared}
                    answered={item.kind === "question" && model.answerTo(model.event(item.at) as NEvent) !== undefined}
                    current={item.key === current}
                    found={find.has(item.key)}
                  />
                );
              })}
            </div>
          </div>
        </div>
        {below > 0 && (
          <button type="button" class="s-pill" onClick={() => list.scrollToEnd({ behavior: "auto" })}>
            <Icon name="down" />
            {words.newBelow(below)}
          </button>
        )}
        <p class="s-hidden" role="status">
          {spoken > 0 ? words.said(spoken) : ""}
        </p>
      </section>
    </Context.Provider>
  );
}

/** Counts how often the list changed, and takes in what came. */
function useVersion(model: Model, events: NEvent[]): number {
  const version = useRef(0);
  if (model.take(events) !== "none") version.current += 1;
  return version.current;
}

interface PlaceProps {
  index: number;
  /** How many rows there are; -1 when that is not known. */
  size: number;
  measure: (element: HTMLElement | null) => void;
}

function Place(props: PlaceProps & { name: string; children: JSX.Element }): JSX.Element {
  return (
    <div
      class={`s-row ${props.name}`}
      role="listitem"
      aria-posinset={props.index + 1}
      aria-setsize={props.size}
      data-index={props.index}
      ref={props.measure}
    >
      {props.children}
    </div>
  );
}

interface RowProps extends PlaceProps {
  item: Item;
  to: number;
  shared: Shared;
  answered: boolean;
  current: boolean;
  found: boolean;
}

/** One item. It is drawn again only when something about it changed. */
class Row extends Component<RowProps> {
  private element: HTMLElement | null = null;

  override shouldComponentUpdate(next: RowProps): boolean {
    const now = this.props;
    return (Object.keys(next) as (keyof RowProps)[]).some((name) => next[name] !== now[name]);
  }

  override componentDidUpdate(before: RowProps): void {
    // Its place has another number now, by which it is measured.
    if (before.index !== this.props.index) this.props.measure(this.element);
  }

  private readonly keep = (element: HTMLElement | null): void => {
    this.element = element;
    this.props.measure(element);
  };

  override render(): JSX.Element | null {
    const { item, shared, index, size } = this.props;
    const { story, began, linkTo } = shared;
    const event = story.event(item.at);
    if (event === undefined) return null;
    const seconds = clock(event.created_at - began);
    const when = moment(event.created_at);
    const bad = shared.suspect !== undefined && story.of(item).some((event) => shared.suspect?.has(event.id));
    return (
      <div
        class={`s-row ${item.kind}${this.props.current ? " current" : ""}${this.props.found ? " found" : ""}${bad ? " suspect" : ""}`}
        role="listitem"
        aria-posinset={index + 1}
        aria-setsize={size}
        aria-current={this.props.current ? "step" : undefined}
        data-index={index}
        data-key={item.key}
        tabIndex={-1}
        ref={this.keep}
      >
        {item.kind === "gap" ? (
          <span class="s-time" />
        ) : linkTo === undefined ? (
          <time class="s-time" title={when} dateTime={new Date(event.created_at * 1000).toISOString()}>
            {seconds}
          </time>
        ) : (
          <a class="s-time" title={`${when} · ${words.link}`} href={linkTo(event.id)}>
            {seconds}
          </a>
        )}
        <span class="s-mark">
          <Icon name={markOf(item, event)} />
        </span>
        <div class="s-body">
          {bad && (
            <p class="s-suspect">
              <Icon name="problem" />
              {words.suspect}
            </p>
          )}
          {item.kind === "gap" ? (
            <Gap from={story.event(item.at - 1)} to={event} />
          ) : (
            <Body item={item} event={event} name={String(item.key)} state={`${this.props.to} ${this.props.answered}`} />
          )}
        </div>
      </div>
    );
  }
}

function Earlier({ loading, load }: { loading: boolean; load: () => void }): JSX.Element {
  return (
    <p class="s-earlier">
      {loading ? (
        words.loading
      ) : (
        <button type="button" class="s-link" onClick={load}>
          {words.loadEarlier}
        </button>
      )}
    </p>
  );
}

function Live({ text }: { text: string }): JSX.Element {
  return (
    <>
      <span class="s-time" />
      <span class="s-mark live">
        <Icon name="said" />
      </span>
      <div class="s-body s-said">
        <p class="s-label">{words.writing}</p>
        <Prose text={text} />
      </div>
    </>
  );
}

/**
 * Whether one reads at the end. Who does stays there when what stands below it grows, or much comes at once; who
 * scrolls up does not.
 */
function useFollowing(scroller: { current: HTMLElement | null }, toEnd: () => void, news: unknown[]): { current: boolean } {
  const follows = useRef(false);
  const go = useRef(toEnd);
  go.current = toEnd;
  useEffect(() => {
    const box = scroller.current;
    if (box === null) return;
    let [top, height] = [box.scrollTop, box.clientHeight];
    const left = (): number => box.scrollHeight - box.clientHeight - box.scrollTop;
    const scrolled = (): void => {
      if (left() < NEAR) follows.current = true;
      else if (box.scrollTop < top - 1 && box.clientHeight === height) follows.current = false;
      [top, height] = [box.scrollTop, box.clientHeight];
    };
    const watch = new ResizeObserver(() => {
      if (follows.current && left() >= 1) go.current();
      [top, height] = [box.scrollTop, box.clientHeight];
    });
    box.addEventListener("scroll", scrolled, { passive: true });
    watch.observe(box);
    return () => {
      box.removeEventListener("scroll", scrolled);
      watch.disconnect();
    };
  }, []);
  useEffect(() => {
    if (!follows.current) return;
    go.current();
    // Rows are as tall as they are only once they were drawn.
    const frame = requestAnimationFrame(() => follows.current && go.current());
    return () => cancelAnimationFrame(frame);
  }, news);
  return follows;
}

/** Steps that came while one was reading further up. */
function useNewBelow(end: number, atEnd: boolean): number {
  const seen = useRef(end);
  if (atEnd || end < seen.current) seen.current = end;
  return end - seen.current;
}

/** Steps that came, said now and then and not each. */
function useSpoken(end: number): number {
  const [spoken, setSpoken] = useState(0);
  const told = useRef<number | undefined>(undefined);
  useEffect(() => {
    if (end === 0) return;
    // What was there at first is no news.
    if (told.current === undefined) {
      told.current = end;
      return;
    }
    const timer = setTimeout(() => {
      const fresh = end - (told.current ?? end);
      told.current = end;
      setSpoken(fresh);
    }, SAY);
    return () => clearTimeout(timer);
  }, [end]);
  return spoken;
}

export interface Find {
  text: string;
  set: (text: string) => void;
  /** Keys of items with the text in them. */
  found: number[];
  busy: boolean;
  /** Which of them one is at, from 1. */
  at: number;
  /** The next or the one before; undefined when there is none. */
  go: (by: number, current: number | undefined) => number | undefined;
  has: (key: number) => boolean;
}

/** Looks for a text in what is loaded, and again when more is. */
function useSearch(model: Model, plain: Map<string, string | null> | undefined, events: NEvent[]): Find {
  const [text, setText] = useState("");
  const [found, setFound] = useState<number[]>([]);
  const [busy, setBusy] = useState(false);
  const [at, setAt] = useState(0);
  const wanted = text.trim();
  useEffect(() => {
    if (wanted === "") {
      setFound([]);
      setBusy(false);
      return;
    }
    let stopped = false;
    setBusy(true);
    const timer = setTimeout(() => {
      void search(model, wanted, plain, () => stopped).then((keys) => {
        if (stopped) return;
        setFound(keys);
        setBusy(false);
      });
    }, 120);
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [model, wanted, plain, events]);
  const set = useMemo(() => new Set(found), [found]);
  return {
    text: wanted,
    set: (next) => {
      setText(next);
      setAt(0);
    },
    found,
    busy,
    at,
    go: (by, current) => {
      if (found.length === 0) return undefined;
      const here = current === undefined ? -1 : found.indexOf(current);
      const next = here >= 0 ? here + by : at === 0 ? (by > 0 ? 0 : found.length - 1) : at - 1 + by;
      const index = (next + found.length) % found.length;
      setAt(index + 1);
      return found[index];
    },
    has: (key) => set.has(key),
  };
}

/** The most places that are marked at once. */
const MARKS = 500;

/** Marks a text wherever it stands in what is drawn, without touching what is drawn. */
function useMarks(root: { current: HTMLElement | null }, text: string, drawn: unknown): void {
  useEffect(() => {
    const registry = typeof CSS === "undefined" || !("highlights" in CSS) ? undefined : CSS.highlights;
    if (registry === undefined) return;
    registry.delete("found");
    const wanted = text.toLowerCase();
    if (wanted === "" || root.current === null) return;
    const ranges: Range[] = [];
    const walker = document.createTreeWalker(root.current, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null && ranges.length < MARKS; node = walker.nextNode()) {
      const words = (node.nodeValue ?? "").toLowerCase();
      for (let at = words.indexOf(wanted); at >= 0 && ranges.length < MARKS; at = words.indexOf(wanted, at + wanted.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + wanted.length);
        ranges.push(range);
      }
    }
    registry.set("found", new Highlight(...ranges));
    return () => void registry.delete("found");
  }, [text, drawn]);
}
