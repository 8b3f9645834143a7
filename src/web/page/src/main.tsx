import "./style/base.css";
import "./style/app.css";
import "./style/story.css";

import { render } from "preact";

import { listen } from "./app/keys";
import { watch } from "./app/notify";
import { Shell } from "./app/Shell";
import { open } from "./app/state";

// It is on its way while the first view is drawn.
void open();
const root = document.getElementById("app");
if (root !== null) render(<Shell />, root);
listen();
watch();
