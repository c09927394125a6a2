import { useQuery } from "@tanstack/react-query";
import { useSearchParams } from "react-router";

import { data, queries } from "../api/client";
import { type Day, isDay } from "../lib/day";

/** The day that the address asks about, `?as_of=2020-01-31`; none is the tenant's today. */
export function useAsOf(): [Day | undefined, (day: Day | undefined) => void] {
  const [search, setSearch] = useSearchParams();
  const asked = search.get("as_of");
  const set = (day: Day | undefined) =>
    setSearch((before) => {
      const after = new URLSearchParams(before);
      if (day) after.set("as_of", day);
      else after.delete("as_of");
      return after;
    });
  return [isDay(asked) ? asked : undefined, set];
}

/** Today, as the tenant's time zone has it. The browser's clock is not asked. */
export function useToday(): Day | undefined {
  const answer = useQuery({
    queryKey: ["today"],
    queryFn: async () => (await data(queries.GET("/v1/jobs", { params: { query: { limit: 1 } } }))).as_of,
    staleTime: 300_000,
  });
  return answer.data;
}

/** An address of ours that asks about the same day as this one. */
export function useKeepDay(): (path: string) => string {
  const [day] = useAsOf();
  return (path) => (day ? `${path}${path.includes("?") ? "&" : "?"}as_of=${day}` : path);
}
