import { useInfiniteQuery, useQuery } from "@tanstack/react-query";

import { commands, data } from "../api/client";
import type { components } from "../api/commands";

type Schemas = components["schemas"];
export type User = Schemas["User"];
export type Role = Schemas["Role"];
export type Permission = Schemas["Permission"];
export type Delegation = Schemas["Delegation"];

export const useUsers = () =>
  useInfiniteQuery({
    queryKey: ["users"],
    queryFn: ({ pageParam, signal }) =>
      data(commands.GET("/v1/users", { params: { query: pageParam ? { after: pageParam } : {} }, signal })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_after ?? undefined,
  });
export const useRoles = () => useQuery({ queryKey: ["roles"], queryFn: () => data(commands.GET("/v1/roles")) });
export const useDelegations = () => useQuery({ queryKey: ["delegations"], queryFn: () => data(commands.GET("/v1/delegations")) });
export const useServiceAccounts = () =>
  useQuery({ queryKey: ["service-accounts"], queryFn: () => data(commands.GET("/v1/service-accounts")) });
export const useDecisions = (after: number) =>
  useQuery({
    queryKey: ["identity-audit", after],
    queryFn: () => data(commands.GET("/v1/identity-audit", { params: { query: after > 0 ? { after } : {} } })),
  });

export const invite = (body: Schemas["InviteUser"]) => data(commands.POST("/v1/users", { body }));
export const inviteAgain = (id: string) => data(commands.POST("/v1/users/{id}/invitation", { params: { path: { id } } }));
export const changeRoles = (id: string, body: Schemas["ChangeUser"]) => data(commands.POST("/v1/users/{id}/roles", { params: { path: { id } }, body }));
export const disable = (id: string) => data(commands.POST("/v1/users/{id}/disabling", { params: { path: { id } } }));
export const enable = (id: string) => data(commands.POST("/v1/users/{id}/enabling", { params: { path: { id } } }));
export const delegate = (body: Schemas["Delegate"]) => data(commands.POST("/v1/delegations", { body }));
export const revokeDelegation = (id: string) => data(commands.POST("/v1/delegations/{id}/revocation", { params: { path: { id } } }));
export const createServiceAccount = (body: Schemas["CreateServiceAccount"]) => data(commands.POST("/v1/service-accounts", { body }));
export const disableServiceAccount = (id: string) =>
  data(commands.POST("/v1/service-accounts/{id}/disabling", { params: { path: { id } } }));
export const activate = (body: Schemas["Activation"]) => data(commands.POST("/v1/auth/activation", { body }));
export const changePassword = (body: Schemas["ChangePassword"]) => data(commands.POST("/v1/auth/password", { body }));
export const setUpTotp = (current: string) => data(commands.POST("/v1/auth/totp", { body: { current } }));
export const confirmTotp = (code: string) => data(commands.POST("/v1/auth/totp/confirmation", { body: { code } }));
export const removeTotp = (code: string) => data(commands.POST("/v1/auth/totp/removal", { body: { code } }));
export const logOutEverywhere = () => data(commands.POST("/v1/auth/revocation", { body: { all: true } }));
