// What of a story one wants to see, and where a word stands.

import type { JSX, RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

import { count, words } from "../words/story";
import { ALL, type Filter, isOn, toggled } from "./filter";
import { Sort, SORTS, type Story } from "./model";
import { Icon } from "./parts";
import type { Find } from "./Story";

interface Props {
  model: Story;
  filter: Filter;
  setFilter: (filter: Filter) => void;
  find: Find;
  jump: (by: number) => void;
  field: RefObject<HTMLInputElement | null>;
  allLoaded: boolean;
  searchEarlier: () => Promise<void>;
}

/** Paths that are offered for the filter. */
const OFFERED = 300;

export function Toolbar(props: Props): JSX.Element {
  const { model, filter, setFilter, find } = props;
  const [typed, setTyped] = useState("");
  const [open, setOpen] = useState(false);
  const [everything, setEverything] = useState(false);
  useEffect(() => {
    find.set(typed);
  }, [typed]);
  const paths = [...model.paths.keys()].slice(0, OFFERED);
  return (
    <div class={`s-bar ${open ? "open" : ""}`}>
      <div class="s-search" role="search">
        <Icon name="search" />
        <input
          type="search"
          ref={props.field}
          value={typed}
          placeholder={words.searchHint}
          aria-label={words.search}
          onInput={(event) => setTyped(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") props.jump(event.shiftKey ? -1 : 1);
            if (event.key === "Escape") {
              setTyped("");
              event.currentTarget.blur();
            }
          }}
        />
        {find.text !== "" && (
          <>
            <span class="s-found" role="status">
              {find.busy ? words.searching : words.found(find.at, find.found.length)}
            </span>
            <button type="button" class="s-icon-button" title={words.previous} onClick={() => props.jump(-1)}>
              <span class="up">
                <Icon name="chevron" />
              </span>
            </button>
            <button type="button" class="s-icon-button" title={words.next} onClick={() => props.jump(1)}>
              <span class="dn">
                <Icon name="chevron" />
              </span>
            </button>
            {!props.allLoaded && (
              <button
                type="button"
                class="s-link"
                disabled={everything}
                onClick={() => {
                  setEverything(true);
                  void props.searchEarlier().finally(() => setEverything(false));
                }}
              >
                {everything ? words.loading : words.searchEarlier}
              </button>
            )}
          </>
        )}
      </div>
      <button
        type="button"
        class="s-button small s-filters-button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        {words.filter}
        {isOn(filter) && <span class="s-dot" />}
      </button>
      <div class="s-filters" role="group" aria-label={words.filter}>
        {SORTS.map((name) => (
          <button
            type="button"
            class={`s-filter ${name}`}
            aria-pressed={(filter.sorts & Sort[name]) !== 0}
            disabled={model.counts[name] === 0 && (filter.sorts & Sort[name]) === 0}
            onClick={() => setFilter(toggled(filter, name))}
          >
            {words.sorts[name]} <span class="s-n">{count(model.counts[name])}</span>
          </button>
        ))}
        {paths.length > 0 && (
          <input
            class="s-path-filter"
            list="s-paths"
            value={filter.path}
            placeholder={words.path}
            aria-label={words.path}
            onInput={(event) => setFilter({ ...filter, path: event.currentTarget.value.trim() })}
          />
        )}
        <datalist id="s-paths">
          {paths.map((path) => (
            <option value={path} />
          ))}
        </datalist>
        {isOn(filter) && (
          <button type="button" class="s-link" onClick={() => setFilter(ALL)}>
            {words.clear}
          </button>
        )}
      </div>
    </div>
  );
}
