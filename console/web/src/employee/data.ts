import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";

import { commands, data, queries } from "../api/client";
import type { components as CommandTypes } from "../api/commands";
import type { components } from "../api/queries";
import type { Day } from "../lib/day";

export type Employee = components["schemas"]["Employee"];
export type Summary = components["schemas"]["EmployeeSummary"];
export type History = components["schemas"]["History"];
export type Status = components["schemas"]["Status"];
type Bodies = CommandTypes["schemas"];

export type Filters = { q?: string; department?: string; job?: string; location?: string; manager?: string; status?: Status | undefined };

/** As many as React Aria's lists and a telephone take at a time. */
const PAGE = 100;

const given = <T extends object>(filters: T): T =>
  Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== undefined && value !== "")) as T;

export function usePeople(filters: Filters, asOf: Day | undefined) {
  return useInfiniteQuery({
    queryKey: ["employees", filters, asOf],
    queryFn: ({ pageParam, signal }) => {
      // A cursor goes on with the day of its list.
      const query = given({ ...filters, as_of: asOf, limit: PAGE, cursor: pageParam });
      return data(queries.GET("/v1/employees", { params: { query }, signal }));
    },
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
  });
}

export function usePerson(id: string, asOf: Day | undefined) {
  return useQuery({
    queryKey: ["employee", id, asOf],
    queryFn: ({ signal }) => data(queries.GET("/v1/employees/{id}", { params: { path: { id }, query: given({ as_of: asOf }) }, signal })),
    placeholderData: (before) => (before?.employee_id === id ? before : undefined),
  });
}

export function useHistory(id: string) {
  return useQuery({
    queryKey: ["employee-history", id],
    queryFn: ({ signal }) => data(queries.GET("/v1/employees/{id}/history", { params: { path: { id } }, signal })),
  });
}

export function useEvents(id: string) {
  return useInfiniteQuery({
    queryKey: ["employee-events", id],
    queryFn: ({ pageParam, signal }) =>
      data(queries.GET("/v1/employees/{id}/events", { params: { path: { id }, query: given({ limit: 100, cursor: pageParam }) }, signal })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
  });
}

/** What every command about a person carries: its key, and which version of the person the form was filled in for. */
const sent = (id: string, key: string, version: number | undefined) => ({
  path: { id },
  header: { "Idempotency-Key": key, ...(version === undefined ? {} : { "If-Match": `"${version}"` }) },
});

type Without<T> = Omit<T, "employee_id">;

export const hire = (key: string, body: Bodies["HireEmployee"]) =>
  data(commands.POST("/v1/employees", { params: { header: { "Idempotency-Key": key } }, body }));
export const changePay = (id: string, key: string, version: number, body: Without<Bodies["ChangeCompensation"]>) =>
  data(commands.POST("/v1/employees/{id}/compensation-changes", { params: sent(id, key, version), body }));
export const changeAssignment = (id: string, key: string, version: number, body: Without<Bodies["ChangeAssignment"]>) =>
  data(commands.POST("/v1/employees/{id}/assignment-changes", { params: sent(id, key, version), body }));
export const changePersonal = (id: string, key: string, version: number, body: Without<Bodies["ChangePersonalDetails"]>) =>
  data(commands.POST("/v1/employees/{id}/personal-details", { params: sent(id, key, version), body }));
export const changeContact = (id: string, key: string, version: number, body: Without<Bodies["ChangeContactDetails"]>) =>
  data(commands.POST("/v1/employees/{id}/contact-details", { params: sent(id, key, version), body }));
export const terminate = (id: string, key: string, version: number, body: Without<Bodies["TerminateEmployee"]>) =>
  data(commands.POST("/v1/employees/{id}/termination", { params: sent(id, key, version), body }));
export const rehire = (id: string, key: string, version: number, body: Without<Bodies["RehireEmployee"]>) =>
  data(commands.POST("/v1/employees/{id}/rehire", { params: sent(id, key, version), body }));
