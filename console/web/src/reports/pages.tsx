export { Headcount } from "./headcount";
