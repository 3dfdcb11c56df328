"""A small Llama learns the paragraphs of Python's own documentation: the HF Trainer's training by accel."""

from pydoc_data.topics import topics

from accelerate.data_loader import SeedableRandomSampler
from tokenizers import ByteLevelBPETokenizer
from torch.utils.data import DataLoader
from transformers import DataCollatorForLanguageModeling, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from accel import Trainer
from accel.parts import Watch
from accel.plugins import Accumulate, AdamW, Clip, Scheduler

paragraphs = [" ".join(text.split()) for topic in topics.values() for text in topic.split("\n\n") if 100 < len(text) < 400]
trained = ByteLevelBPETokenizer()
trained.train_from_iterator(paragraphs, vocab_size=512, special_tokens=["<pad>"], show_progress=False)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token="<pad>")
rows = [dict(tokenizer(text, truncation=True, max_length=96)) for text in paragraphs[:480]]
train_set, test_set = rows[:384], rows[384:]

set_seed(0)
sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
model = LlamaForCausalLM(LlamaConfig(vocab_size=512, max_position_embeddings=96, **sizes))
collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)


def loss_of(model, batch):
    return model(**batch).loss, (batch["labels"][:, 1:] != -100).sum()


class Lines(Watch):
    def after(self, step, loss):
        print(f"update {step} loss {loss:.9f}")

    def evaluated(self, epoch, metrics):
        print(f"epoch {epoch:.0f} test loss {metrics['loss']:.4f}")


schedule = Scheduler(
    target="transformers.get_cosine_schedule_with_warmup", args={"num_warmup_steps": 5, "num_training_steps": "updates"}
)
Trainer(
    model=model,
    data=DataLoader(train_set, batch_size=8, sampler=SeedableRandomSampler(train_set, data_seed=0), collate_fn=collate),
    val=DataLoader(test_set, batch_size=8, collate_fn=collate),
    loss=loss_of,
    plugins=[Accumulate(steps=4), Clip(max_norm=1.0), AdamW(lr=3e-3, exclude="norm_and_bias"), schedule],
    watch=[Lines()],
    epochs=2,
    device="cpu",
    out="runs/llama",
    resume="auto",
).fit()
