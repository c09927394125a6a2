import { useMutation, useQuery } from "@tanstack/react-query";

import { commands, data, session } from "../api/client";
import type { components } from "../api/commands";
import { forgetPosition } from "../api/position";
import { queryClient, setStatus } from "./status";

export type Me = components["schemas"]["Me"];
type Role = components["schemas"]["Role"];
type Duty = components["schemas"]["Duty"];
type FieldClass = components["schemas"]["FieldClass"];

export type Shown = { signed_in: boolean; base_domain: string };

/** Whether there is a session. */
export function useSession() {
  return useQuery({
    queryKey: ["session"],
    queryFn: async () => (await (await session("GET")).json()) as Shown,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** Who is logged in. */
export function useMe() {
  return useQuery({ queryKey: ["me"], queryFn: () => data(commands.GET("/v1/auth/me")), staleTime: 60_000 });
}

/**
 * What the reader's roles say, so that nobody is offered what would be refused. It is only a hint: the APIs decide, and where it
 * can't be told everything is offered.
 */
export type Rights = { has: (duty: Duty) => boolean; changes: (what: FieldClass) => boolean; reads: (what: FieldClass) => boolean };

export function useRights(): Rights {
  const me = useMe().data;
  const roles = useQuery({ queryKey: ["roles"], queryFn: () => data(commands.GET("/v1/roles")), staleTime: 60_000, enabled: !!me });
  const given = useQuery({ queryKey: ["delegations"], queryFn: () => data(commands.GET("/v1/delegations")), staleTime: 60_000, enabled: !!me });
  if (!me) return rightsOf([]);
  if (!roles.data) return roles.isError ? { has: () => true, changes: () => true, reads: () => true } : rightsOf([]);
  const delegated = (given.data ?? []).filter((one) => one.to_subject === me.subject && !one.revoked).flatMap((one) => one.roles);
  const names = new Set([...me.roles, ...delegated]);
  return rightsOf(roles.data.filter((role) => names.has(role.name)));
}

export function rightsOf(roles: Role[]): Rights {
  const may = (action: "read" | "change", what: FieldClass) =>
    roles.some((role) => role.permissions.some((permission) => permission.action === action && permission.class === what));
  return {
    has: (duty) => roles.some((role) => role.duties?.includes(duty)),
    changes: (what) => may("change", what),
    reads: (what) => may("read", what),
  };
}

export type Credentials = { email: string; password: string; totp?: string };

export function useLogIn() {
  return useMutation({
    mutationFn: async (credentials: Credentials) => {
      await session("POST", credentials);
    },
    onSuccess: () => {
      forgetPosition();
      setStatus({ ended: null, tenant: null });
      queryClient.clear();
    },
  });
}

export function useLogOut() {
  return useMutation({
    mutationFn: async () => {
      await session("DELETE");
    },
    // Whatever became of it, nothing of the session stays on the screen.
    onSettled: () => {
      forgetPosition();
      queryClient.clear();
      location.assign("/");
    },
  });
}
