// What is drawn: the sign, and the treehouse.

/** The sign of treefort: what `icon.svg` shows, drawn in the page, since a picture of its own is slower to come. */
export function Mark(shown: { size?: number; class?: string }) {
  return (
    <svg class={shown.class} width={shown.size} height={shown.size} viewBox="0 0 64 64" aria-hidden="true" focusable="false">
      <path fill="#7a4f2b" d="M28 34h8v28h-8z" />
      <circle cx="19" cy="27" r="15" fill="#3f7d4e" />
      <circle cx="45" cy="27" r="15" fill="#3f7d4e" />
      <circle cx="32" cy="17" r="15" fill="#4f9560" />
      <path fill="#f3e3c6" d="M20 30h24v16H20z" />
      <path fill="#b5763c" d="M16 31 32 18l16 13z" />
      <path fill="#5b3a1e" d="M29 36h6v10h-6z" />
      <path fill="#7a4f2b" d="M14 46h36v4H14z" />
    </svg>
  );
}

export function Treehouse() {
  return (
    <svg class="art" viewBox="0 0 240 150" aria-hidden="true" focusable="false">
      <ellipse class="ground" cx="120" cy="141" rx="92" ry="7" />
      <path class="bark" d="M111 142c3-18 3-34 1-52l-22-20 4-4 19 14V58h13v22l20-13 3 5-22 19c-2 18-1 33 3 51z" />
      <g class="crown">
        <circle cx="74" cy="58" r="29" />
        <circle cx="166" cy="56" r="30" />
        <circle cx="98" cy="36" r="28" />
        <circle cx="143" cy="33" r="29" />
      </g>
      <g class="crown near">
        <circle cx="58" cy="72" r="17" />
        <circle cx="184" cy="72" r="18" />
        <circle cx="121" cy="22" r="19" />
      </g>
      <path class="wall" d="M92 56h58v34H92z" />
      <path class="plank" d="M92 64.500h58M92 73h58M92 81.500h58" />
      <path class="roof" d="M85 58 121 32l36 26z" />
      <path class="door" d="M127 66h13v24h-13z" />
      <path class="window" d="M101 65h15v13h-15z" />
      <path class="frame" d="M108.500 65v13M101 71.500h15" />
      <path class="deck" d="M84 90h74v5H84z" />
      <path class="rope" d="M147 95v45M157 95v45M147 103h10M147 111h10M147 119h10M147 127h10M147 135h10" />
      <path class="rope" d="M88 90V80M96 90V80M84 80h12" />
    </svg>
  );
}
