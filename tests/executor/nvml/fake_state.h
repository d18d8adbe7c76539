/* What the fake driver knows: a text file of lines `kind field field ...`, read at every call and written back after every change.
 *
 *   gpu INDEX UUID TOTAL_MIB RESERVED_MIB MAJOR MINOR SLICES MODE PENDING RESET NAME   SLICES 0: no MIG; RESET 1: the mode needs a reset
 *   profile GPU ENUM ID SLICES COUNT MIB SMS SIZE STARTS NAME                          STARTS: 0,2,4
 *   instance GPU INSTANCE PROFILE_ID START
 *   compute GPU INSTANCE COMPUTE_ID PROFILE_ID
 *   process GPU INSTANCE PID MIB                                                       INSTANCE -1: on the undivided GPU
 *   client GPU PID MIB                                                                 computes through MPS
 *   link GPU LINK PEER                                                                 PEER -1: a switch
 *   speed GPU BUS_BITS SM_MHZ MEMORY_MHZ CORES
 *   error FUNCTION GPU CODE AFTER TIMES                                                GPU -1: any; TIMES -1: always
 *   next NUMBER                                                                        of the next instance
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256, SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9,
       RESET_REQUIRED = 16, IN_USE = 19, INSUFFICIENT_RESOURCES = 23 };

struct gpu { int index; char uuid[80]; int total_mib, reserved_mib, major, minor, slices, mode, pending, reset; char name[96]; };
struct profile { int gpu, number, id, slices, count, mib, sms, size; char starts[64], name[96]; };
struct instance { int gpu, id, profile_id, start; };
struct compute { int gpu, instance, id, profile_id; };
struct process { int gpu, instance, pid, mib; };
struct client { int gpu, pid, mib; };
struct link { int gpu, number, peer; };
struct speed { int gpu, told[4]; };
struct error { char function[96]; int gpu, code, after, times; };

static struct {
    struct gpu gpu[MOST]; int gpu_count;
    struct profile profile[MOST]; int profile_count;
    struct instance instance[MOST]; int instance_count;
    struct compute compute[MOST]; int compute_count;
    struct process process[MOST]; int process_count;
    struct client client[MOST]; int client_count;
    struct link link[MOST]; int link_count;
    struct speed speed[MOST]; int speed_count;
    struct error error[MOST]; int error_count;
    int next;
} state;

static int load(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return DRIVER_NOT_LOADED;
    memset(&state, 0, sizeof state);
    char line[512];
    while (fgets(line, sizeof line, file)) {
        struct gpu *g = &state.gpu[state.gpu_count];
        struct profile *p = &state.profile[state.profile_count];
        struct instance *i = &state.instance[state.instance_count];
        struct compute *c = &state.compute[state.compute_count];
        struct process *r = &state.process[state.process_count];
        struct client *k = &state.client[state.client_count];
        struct link *l = &state.link[state.link_count];
        struct speed *v = &state.speed[state.speed_count];
        struct error *e = &state.error[state.error_count];
        if (sscanf(line, "gpu %d %79s %d %d %d %d %d %d %d %d %95[^\n]", &g->index, g->uuid, &g->total_mib, &g->reserved_mib, &g->major,
                   &g->minor, &g->slices, &g->mode, &g->pending, &g->reset, g->name) == 11) state.gpu_count++;
        if (sscanf(line, "profile %d %d %d %d %d %d %d %d %63s %95[^\n]", &p->gpu, &p->number, &p->id, &p->slices, &p->count, &p->mib,
                   &p->sms, &p->size, p->starts, p->name) == 10) state.profile_count++;
        if (sscanf(line, "instance %d %d %d %d", &i->gpu, &i->id, &i->profile_id, &i->start) == 4) state.instance_count++;
        if (sscanf(line, "compute %d %d %d %d", &c->gpu, &c->instance, &c->id, &c->profile_id) == 4) state.compute_count++;
        if (sscanf(line, "process %d %d %d %d", &r->gpu, &r->instance, &r->pid, &r->mib) == 4) state.process_count++;
        if (sscanf(line, "client %d %d %d", &k->gpu, &k->pid, &k->mib) == 3) state.client_count++;
        if (sscanf(line, "link %d %d %d", &l->gpu, &l->number, &l->peer) == 3) state.link_count++;
        if (sscanf(line, "speed %d %d %d %d %d", &v->gpu, v->told, v->told + 1, v->told + 2, v->told + 3) == 5) state.speed_count++;
        if (sscanf(line, "error %95s %d %d %d %d", e->function, &e->gpu, &e->code, &e->after, &e->times) == 5) state.error_count++;
        sscanf(line, "next %d", &state.next);
    }
    fclose(file);
    return SUCCESS;
}

static void save(void) {
    FILE *file = fopen(getenv("FAKE_NVML_STATE"), "w");
    if (!file) abort();
    for (struct gpu *g = state.gpu; g < state.gpu + state.gpu_count; g++)
        fprintf(file, "gpu %d %s %d %d %d %d %d %d %d %d %s\n", g->index, g->uuid, g->total_mib, g->reserved_mib, g->major, g->minor,
                g->slices, g->mode, g->pending, g->reset, g->name);
    for (struct profile *p = state.profile; p < state.profile + state.profile_count; p++)
        fprintf(file, "profile %d %d %d %d %d %d %d %d %s %s\n", p->gpu, p->number, p->id, p->slices, p->count, p->mib, p->sms, p->size,
                p->starts, p->name);
    for (struct instance *i = state.instance; i < state.instance + state.instance_count; i++)
        fprintf(file, "instance %d %d %d %d\n", i->gpu, i->id, i->profile_id, i->start);
    for (struct compute *c = state.compute; c < state.compute + state.compute_count; c++)
        fprintf(file, "compute %d %d %d %d\n", c->gpu, c->instance, c->id, c->profile_id);
    for (struct process *r = state.process; r < state.process + state.process_count; r++)
        fprintf(file, "process %d %d %d %d\n", r->gpu, r->instance, r->pid, r->mib);
    for (struct client *k = state.client; k < state.client + state.client_count; k++)
        fprintf(file, "client %d %d %d\n", k->gpu, k->pid, k->mib);
    for (struct link *l = state.link; l < state.link + state.link_count; l++)
        fprintf(file, "link %d %d %d\n", l->gpu, l->number, l->peer);
    for (struct speed *v = state.speed; v < state.speed + state.speed_count; v++)
        fprintf(file, "speed %d %d %d %d %d\n", v->gpu, v->told[0], v->told[1], v->told[2], v->told[3]);
    for (struct error *e = state.error; e < state.error + state.error_count; e++)
        fprintf(file, "error %s %d %d %d %d\n", e->function, e->gpu, e->code, e->after, e->times);
    fprintf(file, "next %d\n", state.next);
    fclose(file);
}

/* Reads the state; the code of an error that is to happen in this call, else SUCCESS. */
static int enter(const char *function, int gpu) {
    int loaded = load();
    if (loaded) return loaded;
    for (struct error *e = state.error; e < state.error + state.error_count; e++) {
        if (strcmp(e->function, function) || (e->gpu != -1 && e->gpu != gpu) || !e->times) continue;
        if (e->after > 0) {
            e->after--;
            save();
            continue;
        }
        if (e->times > 0) e->times--;
        save();
        return e->code;
    }
    return SUCCESS;
}

typedef unsigned int uint;
typedef unsigned long long ull;
/* Handles are numbers: kind, GPU, instance, compute instance. */
typedef size_t handle;
enum { GPU = 1, MIG = 2, INSTANCE = 3, COMPUTE = 4 };
#define HANDLE(kind, gpu, instance, compute) (((handle)(kind) << 48) | ((handle)(gpu) << 32) | ((handle)(instance) << 8) | (handle)(compute))
#define KIND(h) ((int)((h) >> 48))
#define ON(h) ((int)((h) >> 32 & 0xffff))
#define ID(h) ((int)((h) >> 8 & 0xffffff))
#define CID(h) ((int)((h) & 0xff))
#define BEGIN(gpu) do { int code_ = enter(__func__, (gpu)); if (code_) return code_; } while (0)
#define EACH(kind, item) for (struct kind *item = state.kind; item < state.kind + state.kind##_count; item++)
