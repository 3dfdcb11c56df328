"""A small Llama learns the paragraphs of Python's own documentation: by the HF Trainer."""

from pydoc_data.topics import topics

from tokenizers import ByteLevelBPETokenizer
from transformers import (
    DataCollatorForLanguageModeling,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

paragraphs = [" ".join(text.split()) for topic in topics.values() for text in topic.split("\n\n") if 100 < len(text) < 400]
trained = ByteLevelBPETokenizer()
trained.train_from_iterator(paragraphs, vocab_size=512, special_tokens=["<pad>"], show_progress=False)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token="<pad>")
rows = [dict(tokenizer(text, truncation=True, max_length=96)) for text in paragraphs[:480]]
train_set, test_set = rows[:384], rows[384:]

set_seed(0)
sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
model = LlamaForCausalLM(LlamaConfig(vocab_size=512, max_position_embeddings=96, **sizes))


class Lines(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **more):
        if "loss" in logs:
            print(f"update {state.global_step} loss {float(logs['loss']):.9f}")

    def on_evaluate(self, args, state, control, metrics=None, **more):
        print(f"epoch {state.epoch:.0f} test loss {metrics['eval_loss']:.4f}")


arguments = TrainingArguments(
    output_dir="runs/llama",
    num_train_epochs=2,
    per_device_train_batch_size=8,
    per_device_eval_batch_size=8,
    gradient_accumulation_steps=4,
    max_grad_norm=1.0,
    learning_rate=3e-3,
    weight_decay=0.01,
    lr_scheduler_type="cosine",
    warmup_steps=5,
    eval_strategy="epoch",
    save_strategy="epoch",
    logging_steps=1,
    use_cpu=True,
    report_to=[],
    seed=0,
    disable_tqdm=True,
)
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=train_set,
    eval_dataset=test_set,
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    callbacks=[Lines()],
)
trainer.train()
