import "./app/style.css";

import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router/dom";

import { Boundary } from "./app/boundary";
import { router } from "./app/routes";
import { queryClient } from "./app/status";
import { applyTheme } from "./app/theme";
import { startTexts } from "./i18n";

applyTheme();
await startTexts();
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Boundary>
        <QueryClientProvider client={queryClient}>
          <RouterProvider router={router} />
        </QueryClientProvider>
      </Boundary>
    </StrictMode>,
  );
}
