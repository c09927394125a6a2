import { useInfiniteQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link, Outlet, useNavigate, useParams } from "react-router";

import { commands, data, queries } from "../api/client";
import type { components } from "../api/queries";
import { useCode, useTexts } from "../i18n";
import { formatInstant } from "../lib/day";
import { TimeZoneField } from "../organization/locations";
import { Button, ButtonLink } from "../ui/button";
import { TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { CommandForm, Sheet } from "../ui/form";
import { Badge, Empty, Loaded, Page } from "../ui/page";

type Tenant = components["schemas"]["Tenant"];

const LIST = "/operator";

const useTenants = () =>
  useInfiniteQuery({
    queryKey: ["tenants"],
    queryFn: ({ pageParam, signal }) =>
      data(queries.GET("/v1/tenants", { params: { query: { limit: 200, ...(pageParam ? { cursor: pageParam } : {}) } }, signal })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    // Setting a tenant up takes a moment.
    refetchInterval: (query) => (query.state.data?.pages.some((page) => page.items.some((one) => one.state === "registered")) ? 1000 : false),
  });

/** The tenants, for who operates the platform. */
export function Tenants() {
  const { say } = useTexts();
  const tenants = useTenants();
  return (
    <Page title={say("tenants")} actions={<ButtonLink kind="main" to={`${LIST}/new`}>{say("tenant.register")}</ButtonLink>}>
      <Loaded of={tenants}>
        {(all) => {
          const rows = all.pages.flatMap((page) => page.items);
          if (rows.length === 0) return <Empty>{say("tenants.none")}</Empty>;
          return (
            <>
              <div className="scroll" tabIndex={0} role="region" aria-label={say("tenants")}>
                <table>
                  <thead>
                    <tr>
                      <th scope="col">{say("name")}</th>
                      <th scope="col">{say("organization.slug")}</th>
                      <th scope="col">{say("status")}</th>
                      <th scope="col">{say("subscription")}</th>
                      <th scope="col">{say("time_zone")}</th>
                      <th scope="col">{say("actions")}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {rows.map((tenant) => (
                      <TenantRow key={tenant.tenant_id} tenant={tenant} />
                    ))}
                  </tbody>
                </table>
              </div>
              {tenants.hasNextPage && <Button onPress={() => void tenants.fetchNextPage()}>{say("more")}</Button>}
            </>
          );
        }}
      </Loaded>
      <Outlet />
    </Page>
  );
}

const KINDS = { ready: "good", registered: "ahead", suspended: "bad", closed: "soft" } as const;

function TenantRow({ tenant }: { tenant: Tenant }) {
  const { say, language } = useTexts();
  const code = useCode();
  const link = (command: string, label: string) => (
    <>
      <Link className="rowcommand" to={`${LIST}/${tenant.tenant_id}/${command}`} aria-label={`${label}: ${tenant.name}`}>
        {label}
      </Link>{" "}
    </>
  );
  const { plan, expires_at } = tenant.subscription;
  return (
    <tr>
      <th scope="row">{tenant.name}</th>
      <td className="code">{tenant.slug}</td>
      <td>
        <Badge kind={KINDS[tenant.state]}>{code("tenant", tenant.state)}</Badge>
      </td>
      <td>
        {plan}
        {expires_at && <span className="soft"> · {say("until", { day: formatInstant(expires_at, language) })}</span>}
      </td>
      <td>{tenant.time_zone}</td>
      <td className="nowrap">
        {tenant.state !== "closed" && (
          <>
            {link("name", say("rename"))}
            {link("time-zone", say("time_zone"))}
            {link("subscription", say("subscription"))}
            {tenant.state === "suspended" ? link("resumption", say("tenant.resume")) : link("suspension", say("tenant.suspend"))}
            {link("closure", say("close_it"))}
          </>
        )}
      </td>
    </tr>
  );
}

/** A command about the tenant of the address. */
function AboutTenant({ title, danger, follows, send, children }: {
  title: string;
  danger?: boolean;
  follows?: string;
  send: (tenant: Tenant, key: string) => Promise<unknown>;
  children?: (tenant: Tenant) => ReactNode;
}) {
  const id = useParams()["id"];
  const navigate = useNavigate();
  const tenants = useTenants();
  return (
    <Sheet title={title} back={LIST}>
      <Loaded of={tenants}>
        {(all) => {
          const tenant = all.pages.flatMap((page) => page.items).find((one) => one.tenant_id === id);
          if (!tenant) return null;
          return (
            <CommandForm
              submit={title}
              danger={danger ?? false}
              follows={follows}
              send={(key) => send(tenant, key)}
              done={() => void navigate(LIST, { replace: true })}
            >
              <p>
                <strong>{tenant.name}</strong> <span className="code">{tenant.slug}</span>
              </p>
              {children?.(tenant)}
            </CommandForm>
          );
        }}
      </Loaded>
    </Sheet>
  );
}

const to = (tenant: Tenant, key: string) => ({ path: { id: tenant.tenant_id }, header: { "Idempotency-Key": key } });

export function Register() {
  const { say } = useTexts();
  const navigate = useNavigate();
  const [fields, set] = useFields({ slug: "", name: "", zone: "UTC" });
  return (
    <Sheet title={say("tenant.register")} back={LIST}>
      <CommandForm
        submit={say("tenant.register")}
        send={(key) =>
          data(
            commands.POST("/v1/tenants", {
              params: { header: { "Idempotency-Key": key } },
              body: { slug: fields.slug, name: fields.name, time_zone: fields.zone },
            }),
          )
        }
        done={() => void navigate(LIST, { replace: true })}
        follows={say("tenant.register.follows")}
      >
        <TextInput name="/name" label={say("name")} required value={fields.name} onChange={set("name")} />
        <TextInput name="/slug" label={say("organization.slug")} hint={say("organization.slug.hint")} required value={fields.slug} onChange={set("slug")} />
        <TimeZoneField value={fields.zone} onChange={set("zone")} />
      </CommandForm>
    </Sheet>
  );
}

export function Suspend() {
  const { say } = useTexts();
  const [reason, setReason] = useState("");
  return (
    <AboutTenant
      danger
      title={say("tenant.suspend")}
      follows={say("tenant.suspend.follows")}
      send={(tenant, key) => data(commands.POST("/v1/tenants/{id}/suspension", { params: to(tenant, key), body: { reason } }))}
    >
      {() => <TextInput name="/reason" label={say("reason")} required value={reason} onChange={setReason} />}
    </AboutTenant>
  );
}

export function Resume() {
  const { say } = useTexts();
  return (
    <AboutTenant
      title={say("tenant.resume")}
      send={(tenant, key) => data(commands.POST("/v1/tenants/{id}/resumption", { params: to(tenant, key), body: {} }))}
    />
  );
}

export function Rename() {
  const { say } = useTexts();
  const [slug, setSlug] = useState<string | null>(null);
  const [name, setName] = useState<string | null>(null);
  return (
    <AboutTenant
      title={say("rename")}
      follows={say("tenant.rename.follows")}
      send={(tenant, key) =>
        data(
          commands.POST("/v1/tenants/{id}/name", {
            params: to(tenant, key),
            body: { slug: slug ?? tenant.slug, name: name ?? tenant.name },
          }),
        )
      }
    >
      {(tenant) => (
        <>
          <TextInput name="/name" label={say("name")} required value={name ?? tenant.name} onChange={setName} />
          <TextInput name="/slug" label={say("organization.slug")} required value={slug ?? tenant.slug} onChange={setSlug} />
        </>
      )}
    </AboutTenant>
  );
}

export function ChangeTimeZone() {
  const { say } = useTexts();
  const [zone, setZone] = useState("");
  return (
    <AboutTenant
      title={say("time_zone")}
      send={(tenant, key) => data(commands.POST("/v1/tenants/{id}/time-zone", { params: to(tenant, key), body: { time_zone: zone || tenant.time_zone } }))}
    >
      {(tenant) => <TimeZoneField value={zone || tenant.time_zone} onChange={setZone} />}
    </AboutTenant>
  );
}

export function ChangeSubscription() {
  const { say } = useTexts();
  const [plan, setPlan] = useState<string | null>(null);
  const [ends, setEnds] = useState("");
  return (
    <AboutTenant
      title={say("subscription")}
      send={(tenant, key) =>
        data(
          commands.POST("/v1/tenants/{id}/subscription", {
            params: to(tenant, key),
            body: { plan: plan ?? tenant.subscription.plan, expires_at: ends ? new Date(ends).toISOString() : null },
          }),
        )
      }
    >
      {(tenant) => (
        <>
          <TextInput name="/plan" label={say("plan")} required value={plan ?? tenant.subscription.plan} onChange={setPlan} />
          <TextInput name="/expires_at" type="datetime-local" label={say("ends")} hint={say("subscription.ends.hint")} value={ends} onChange={setEnds} />
        </>
      )}
    </AboutTenant>
  );
}

export function Close() {
  const { say } = useTexts();
  const [reason, setReason] = useState("");
  return (
    <AboutTenant
      danger
      title={say("close_it")}
      follows={say("tenant.close.follows")}
      send={(tenant, key) => data(commands.POST("/v1/tenants/{id}/closure", { params: to(tenant, key), body: { reason } }))}
    >
      {() => <TextInput name="/reason" label={say("reason")} required value={reason} onChange={setReason} />}
    </AboutTenant>
  );
}
