import type { ReactNode } from "react";
import { NavLink } from "react-router";

import { useMe, useRights } from "../app/session";
import { useTexts } from "../i18n";
import { Page } from "../ui/page";

/** The parts of the administration that the reader may see. */
export function AdministrationPage({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  const { say } = useTexts();
  const rights = useRights();
  const operator = useMe().data?.tenant_slug === "platform";
  const tabs: [string, string, boolean][] = [
    ["/administration/users", say("users"), rights.has("manage_users")],
    ["/administration/roles", say("roles"), true],
    ["/administration/delegations", say("nav.delegations"), !operator],
    ["/administration/service-accounts", say("service_accounts"), rights.has("manage_users")],
    ["/administration/audit", say("nav.audit"), rights.has("read_audit")],
  ];
  return (
    <>
      <nav className="tabs" aria-label={say("nav.administration")}>
        {tabs
          .filter(([, , there]) => there)
          .map(([to, label]) => (
            <NavLink key={to} to={to}>
              {label}
            </NavLink>
          ))}
      </nav>
      <Page title={title} actions={actions}>
        {children}
      </Page>
    </>
  );
}
