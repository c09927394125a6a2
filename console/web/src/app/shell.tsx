import { useEffect, useRef, useState } from "react";
import { Button as AriaButton, Menu, MenuItem, MenuTrigger, Popover } from "react-aria-components";
import { Link, Navigate, Outlet, useLocation, useNavigate } from "react-router";

import { type Language, speak, useCode, useTexts } from "../i18n";
import { plus, plusMonths } from "../lib/day";
import { Button } from "../ui/button";
import { Progress, Waiting } from "../ui/page";
import { ProblemNote } from "../ui/problem";
import { useAsOf, useKeepDay, useToday } from "./asof";
import { LogIn } from "./login";
import { type Me, useLogOut, useMe, useRights, useSession } from "./session";
import { queryClient, setStatus, useStatus } from "./status";
import { applyTheme, type Theme, theme } from "./theme";

/** Around every page: who is not logged in logs in at the same address, and goes on there. */
export function Shell() {
  const { say } = useTexts();
  const status = useStatus();
  const session = useSession();
  if (session.isPending) return <Alone>{session.failureReason ? <Connecting error={session.failureReason} /> : <Waiting text={say("loading")} />}</Alone>;
  if (session.isError) {
    return (
      <Alone>
        <ProblemNote error={session.error} again={() => void session.refetch()} />
      </Alone>
    );
  }
  // Why a session ended is only told to whoever had one.
  const ended = status.ended?.code === "no_session" ? null : status.ended;
  if (!session.data.signed_in || status.ended) return <LogIn ended={ended} baseDomain={session.data.base_domain} />;
  return <SignedIn />;
}

function Connecting({ error }: { error: unknown }) {
  const { say } = useTexts();
  return (
    <>
      <ProblemNote error={error} />
      <Waiting text={say("waiting")} />
    </>
  );
}

function SignedIn() {
  const { say } = useTexts();
  const status = useStatus();
  const me = useMe();
  const logOut = useLogOut();
  if (status.tenant) {
    const again = () => {
      setStatus({ tenant: null });
      void queryClient.invalidateQueries();
    };
    return (
      <Alone>
        <h1>{say("tenant.unserved")}</h1>
        <ProblemNote error={status.tenant} again={again} />
        <p>
          <Button kind="quiet" onPress={() => logOut.mutate()}>
            {say("log_out")}
          </Button>
        </p>
      </Alone>
    );
  }
  if (!me.data) {
    return (
      <Alone>
        {me.isError ? (
          <ProblemNote error={me.error} again={() => void me.refetch()} />
        ) : me.failureReason ? (
          <Connecting error={me.failureReason} />
        ) : (
          <Waiting text={say("loading")} />
        )}
      </Alone>
    );
  }
  return <Frame me={me.data} />;
}

/** A page that stands for itself, without what one needs to be logged in for. */
export function Alone({ children }: { children: React.ReactNode }) {
  return <main className="alone">{children}</main>;
}

function Frame({ me }: { me: Me }) {
  const { say } = useTexts();
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const first = useRef(true);
  const page = pathname.split("/").slice(0, 3).join("/");
  // Whoever reads the page aloud begins at the new page's heading.
  useEffect(() => {
    if (first.current) first.current = false;
    else main.current?.querySelector("h1")?.focus({ preventScroll: true });
  }, [page]);
  useShortcuts();
  return (
    <>
      <a className="skip" href="#main">
        {say("skip")}
      </a>
      <Progress />
      <header className="top">
        <Brand me={me} />
        <Navigation me={me} />
        <div className="tools">
          {me.tenant_slug !== "platform" && <DayControl />}
          <UserMenu me={me} />
        </div>
      </header>
      <Offline />
      <main id="main" ref={main} className="content">
        <Outlet />
      </main>
    </>
  );
}

function Brand({ me }: { me: Me }) {
  const keep = useKeepDay();
  return (
    <Link className="brand" to={keep("/")}>
      <img src={new URL("./icon.svg", import.meta.url).href} alt="" width="22" height="22" />
      <span>Tenure</span>
      <span className="tenant">{me.tenant_slug}</span>
    </Link>
  );
}

/** What there is for whom. */
function usePlaces(me: Me): [string, string, string][] {
  const { say } = useTexts();
  const rights = useRights();
  const operator = me.tenant_slug === "platform";
  const places: [string, string, string, boolean][] = [
    ["/people", "/people", say("nav.people"), !operator],
    ["/organization/chart", "/organization", say("nav.organization"), !operator],
    ["/reports", "/reports", say("nav.reports"), !operator],
    ["/operator", "/operator", say("nav.operator"), operator],
    ["/administration/users", "/administration", say("nav.administration"), rights.has("manage_users") || rights.has("manage_roles")],
    ["/administration/audit", "/administration", say("nav.audit"), rights.has("read_audit") && !rights.has("manage_users")],
    ["/administration/delegations", "/administration", say("nav.delegations"), !operator && !rights.has("manage_users") && !rights.has("read_audit")],
  ];
  return places.filter(([, , , there]) => there).map(([to, under, label]) => [to, under, label]);
}

function Navigation({ me }: { me: Me }) {
  const { say } = useTexts();
  const keep = useKeepDay();
  const { pathname } = useLocation();
  return (
    <nav aria-label={say("nav")}>
      {usePlaces(me).map(([to, under, label]) => (
        <Link key={to} to={keep(to)} aria-current={pathname === under || pathname.startsWith(`${under}/`) ? "page" : undefined}>
          {label}
        </Link>
      ))}
    </nav>
  );
}

/** The day that every page is about. */
function DayControl() {
  const { say } = useTexts();
  const [asOf, setAsOf] = useAsOf();
  const today = useToday();
  const day = asOf ?? today ?? "";
  const step = (to: string) => setAsOf(to === today ? undefined : to);
  return (
    <div className={asOf ? "day elsewhere" : "day"} role="group" aria-label={say("as_of")}>
      <Button kind="quiet" aria-label={say("month_before")} isDisabled={!day} onPress={() => step(plusMonths(day, -1))}>
        «
      </Button>
      <Button kind="quiet" aria-label={say("day_before")} isDisabled={!day} onPress={() => step(plus(day, -1))}>
        ‹
      </Button>
      <input
        type="date"
        aria-label={say("as_of")}
        min="0001-01-01"
        max="9999-12-31"
        value={day}
        onChange={(event) => {
          // While a year is typed it is one of the first century.
          if (event.target.value >= "1000") step(event.target.value);
        }}
      />
      <Button kind="quiet" aria-label={say("day_after")} isDisabled={!day} onPress={() => step(plus(day, 1))}>
        ›
      </Button>
      <Button kind="quiet" aria-label={say("month_after")} isDisabled={!day} onPress={() => step(plusMonths(day, 1))}>
        »
      </Button>
      {asOf && <Button onPress={() => setAsOf(undefined)}>{say("today")}</Button>}
    </div>
  );
}

function UserMenu({ me }: { me: Me }) {
  const { say, language } = useTexts();
  const code = useCode();
  const navigate = useNavigate();
  const logOut = useLogOut();
  const [, redraw] = useState(0);
  const act = (key: string) => {
    const [what, value] = key.split(":");
    if (what === "go") void navigate(value ?? "/");
    else if (what === "language") void speak(value as Language);
    else if (what === "theme") {
      applyTheme(value as Theme);
      redraw((n) => n + 1);
    } else if (what === "out") logOut.mutate();
  };
  const mark = (on: boolean) => (on ? "✓ " : "");
  return (
    <MenuTrigger>
      <AriaButton className="button quiet">
        {say("account")} <span className="soft">{me.roles.map((role) => code("role", role)).join(", ")}</span> <span aria-hidden="true">▾</span>
      </AriaButton>
      <Popover className="popover" placement="bottom end">
        <Menu className="listbox" onAction={(key) => act(String(key))}>
          {me.employee_id && (
            <MenuItem className="option" id={`go:/people/${me.employee_id}`}>
              {say("my_page")}
            </MenuItem>
          )}
          <MenuItem className="option" id="go:/account">
            {say("account")}
          </MenuItem>
          <MenuItem className="option" id="language:en">
            {mark(language === "en")}English
          </MenuItem>
          <MenuItem className="option" id="language:de">
            {mark(language === "de")}Deutsch
          </MenuItem>
          <MenuItem className="option" id="theme:system">
            {mark(theme() === "system")}
            {say("theme.system")}
          </MenuItem>
          <MenuItem className="option" id="theme:light">
            {mark(theme() === "light")}
            {say("theme.light")}
          </MenuItem>
          <MenuItem className="option" id="theme:dark">
            {mark(theme() === "dark")}
            {say("theme.dark")}
          </MenuItem>
          <MenuItem className="option" id="out">
            {say("log_out")}
          </MenuItem>
        </Menu>
      </Popover>
    </MenuTrigger>
  );
}

function Offline() {
  const { say } = useTexts();
  const [online, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const look = () => {
      setOnline(navigator.onLine);
      if (navigator.onLine) void queryClient.invalidateQueries();
    };
    addEventListener("online", look);
    addEventListener("offline", look);
    return () => {
      removeEventListener("online", look);
      removeEventListener("offline", look);
    };
  }, []);
  if (online) return null;
  return (
    <p className="banner" role="status">
      {say("problem.offline")}
    </p>
  );
}

/** `/` goes to the search of a page, where it has one. */
function useShortcuts(): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && event.target.closest("input, textarea, select, [contenteditable]");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const search = document.querySelector<HTMLInputElement>("input[type=search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

/** Where one begins. */
export function Home() {
  const me = useMe().data;
  const keep = useKeepDay();
  if (!me) return null;
  return <Navigate to={me.tenant_slug === "platform" ? "/operator" : keep("/people")} replace />;
}
