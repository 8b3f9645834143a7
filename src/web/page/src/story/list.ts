// The virtual list: of any number of rows, whose heights are known only when they are drawn, those in sight are in
// the page. @tanstack/virtual-core does the sums, also where rows come before what one reads; this is its Preact side.

import {
  elementScroll,
  observeElementOffset,
  observeElementRect,
  observeWindowOffset,
  observeWindowRect,
  Virtualizer,
  windowScroll,
} from "@tanstack/virtual-core";
import { useLayoutEffect, useReducer, useRef } from "preact/hooks";

export interface ListOptions {
  count: number;
  /** A row's name, which stays when others come and go. A new function means new rows. */
  keyOf: (index: number) => number;
  estimate: (index: number) => number;
  /** The element that scrolls; the window when there is none. */
  scroller: () => HTMLElement | null;
  window: boolean;
  /** Pixels between the beginning of what scrolls and of the list. */
  margin: number;
}

export type List = Virtualizer<HTMLElement, HTMLElement> | Virtualizer<Window, HTMLElement>;

/** How near to its end a list is taken to be there, in pixels. */
export const NEAR = 60;

export function useList(options: ListOptions): List {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const shared = {
    count: options.count,
    getItemKey: options.keyOf,
    estimateSize: options.estimate,
    overscan: 6,
    scrollMargin: options.margin,
    // What is read stays in place when rows come before it; at the end, what comes is followed.
    anchorTo: "end" as const,
    followOnAppend: true,
    scrollEndThreshold: NEAR,
    onChange: () => redraw(undefined as never),
  };
  const all = options.window
    ? {
        ...shared,
        getScrollElement: (): Window => window,
        observeElementRect: observeWindowRect,
        observeElementOffset: observeWindowOffset,
        scrollToFn: windowScroll,
        initialOffset: () => window.scrollY,
      }
    : {
        ...shared,
        getScrollElement: options.scroller,
        observeElementRect,
        observeElementOffset,
        scrollToFn: elementScroll,
      };
  const kept = useRef<List | undefined>(undefined);
  const list = (kept.current ??= new Virtualizer(all as never) as List);
  list.setOptions(all as never);
  useLayoutEffect(() => list._didMount(), [list]);
  useLayoutEffect(() => list._willUpdate());
  return list;
}
