import "./style/base.css";

import { render } from "preact";

import { words } from "./words/app";

const root = document.getElementById("app");
if (root !== null) render(<p>{words.name}</p>, root);
